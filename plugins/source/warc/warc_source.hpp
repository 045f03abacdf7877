// source/warc: web archives (WARC) and their extracted text (WET).
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"

namespace conclave::warc {

struct WarcOptions : datakit::FileSelection {
  WarcOptions() { extensions = {".warc", ".warc.gz", ".wet", ".wet.gz", ".warc.wet.gz"}; }
  std::vector<std::string> types = {"response", "resource", "conversion"};
  Bytes min_text = 200;
  Bytes max_document = 32 << 20;
};
OptionTable warc_options();

class WarcSource final : public Source {
 public:
  WarcSource(HostContext& host, const WarcOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  void report(const std::string& path, std::int64_t member, std::int64_t position, const std::string& why);

  HostContext& host_;
  WarcOptions options_;
  datakit::FileShards shards_;
  std::atomic<int> reported_ = 0;
};

} // namespace conclave::warc
