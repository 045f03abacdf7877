// TreeWalk: the files below a folder, one after the other, in an order that depends on their names alone.
//
// What this is: a walk that holds the names of one folder for each level, so that ten million files cost no more than the
// largest folder, and that can begin anywhere. What this is not: patterns (conclave/datakit/files.hpp lists those).
//
// Threading: one thread at a time per object.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::code {

struct TreeFile {
  std::string path; ///< below the walk's folder, with `/`
  std::int64_t bytes = 0;
  std::int64_t changed = 0; ///< time of change, in the file system's unit
};

struct TreeRule {
  std::function<bool(const std::string& name)> enters; ///< a folder of that name
  std::function<bool(const std::string& name)> takes;  ///< a file of that name
};

class TreeWalk {
 public:
  /// Begins at the first file that does not come before `from`; "" is the first of all. Both arguments must outlive the walk.
  TreeWalk(const std::string& folder, const TreeRule& rule, const std::string& from = {});

  /// The next file into `out`, false at the end. Names are compared byte by byte, part by part. Linked folders are not
  /// entered, linked files are taken. A folder that cannot be read is an error; one that went away is not.
  Result<bool> next(TreeFile& out);

 private:
  struct Entry {
    std::string name;
    bool folder;
  };
  struct Level {
    std::string path; ///< "" or ends with `/`
    std::vector<Entry> entries;
    std::size_t at = 0;
  };
  Status descend(std::string path);

  const std::string& folder_;
  const TreeRule& rule_;
  std::vector<std::string> from_; ///< parts that still bound the next level; empty: nothing does
  bool started_ = false;
  std::vector<Level> levels_;
};

} // namespace conclave::code
