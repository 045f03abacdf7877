// Looking up a line by its name.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "doctor/check.hpp"

namespace conclave::doctor {

/// The one line of that name; a failure of the test when there is none, or more than one.
inline Check line(const Checks& checks, const std::string& name) {
  Check found;
  int times = 0;
  for (const Check& check : checks)
    if (check.name == name) found = check, ++times;
  EXPECT_EQ(times, 1) << name;
  return found;
}

inline std::string names(const Checks& checks) {
  std::string text;
  for (const Check& check : checks) text += (text.empty() ? "" : ", ") + check.name;
  return text;
}

} // namespace conclave::doctor
