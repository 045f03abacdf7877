// The libraries that this process runs with, against those that the program was built for.
#pragma once

#include <string>
#include <vector>

#include "doctor/check.hpp"

namespace conclave::doctor {

struct LibraryFact {
  enum class Rule {
    equal,    ///< a C++ interface that changes with each version
    not_older ///< a C interface that only grows within its major version
  };
  std::string name;
  std::string built; ///< "2.11.0"; "" when the build does not say
  std::string found; ///< "" when it cannot be used
  Rule rule = Rule::not_older;
  std::string why{}; ///< it cannot be used
};

/// LibTorch; with a GPU also the CUDA run-time, cuDNN and NCCL, for which LibTorch's CUDA half is opened.
std::vector<LibraryFact> read_libraries(bool gpu);
Checks judge_libraries(const std::vector<LibraryFact>& facts);

/// -1, 0 or 1 as the numbers of "2.28.9" are less, equal or greater; what is not a number counts as 0.
int compare_versions(const std::string& a, const std::string& b);
/// 13000 -> "13.0", as CUDA counts.
std::string cuda_version_text(int version);
/// 91002 -> "9.10.2", as cuDNN from 9 on and NCCL count.
std::string dotted_version_text(long version);

} // namespace conclave::doctor
