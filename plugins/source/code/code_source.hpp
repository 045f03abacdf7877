// source/code: trees of source code, a document a file, each with its language.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/source.hpp"
#include "tree.hpp"

namespace conclave::code {

struct CodeOptions {
  std::vector<Path> paths;
  std::vector<std::string> languages;
  std::vector<std::string> exclude = {
      "node_modules", "bower_components", "vendor",   "third_party", "third-party", "__pycache__",      "*.min.js",
      "*.min.css",    "*.pb.go",          "*_pb2.py", "*.pb.h",      "*.pb.cc",     "package-lock.json"};
  Bytes max_document = 1 << 20;
};
OptionTable code_options();

class CodeSource final : public Source {
 public:
  CodeSource(HostContext& host, const CodeOptions& options);
  Result<std::vector<ShardInfo>> shards() override;
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  struct Folder {
    std::string path, prefix; ///< of its documents' ids
  };
  /// A run of files in the walk's order: its beginning and length are all that is kept of it.
  struct Run {
    std::size_t folder;
    std::string first;
    std::int64_t files;
  };
  [[nodiscard]] Result<std::vector<Folder>> folders() const;
  Status list();

  CodeOptions options_;
  TreeRule rule_;
  std::mutex mutex_; // of the list, until it is made
  bool listed_ = false;
  std::vector<Folder> folders_;
  std::vector<ShardInfo> infos_;
  std::unordered_map<std::string, Run> runs_;
};

} // namespace conclave::code
