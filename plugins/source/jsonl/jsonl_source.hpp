// source/jsonl: files of one JSON object a line, plain, gzip or zstd.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <string>
#include <vector>

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"

namespace conclave::jsonl {

struct JsonlOptions : datakit::FileSelection {
  JsonlOptions() {
    extensions = {".jsonl",   ".ndjson",    ".json",       ".jsonl.gz", ".ndjson.gz",
                  ".json.gz", ".jsonl.zst", ".ndjson.zst", ".json.zst"};
  }
  std::string text = "text";
  std::string id, url, language;
  Bytes max_line = 64 << 20;
};
OptionTable jsonl_options();

class JsonlSource final : public Source {
 public:
  JsonlSource(HostContext& host, const JsonlOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  JsonlOptions options_;
  datakit::FileShards shards_;
};

} // namespace conclave::jsonl
