// source/dictd: articles of dictd databases.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"
#include "index.hpp"

namespace conclave::dictd {

struct DictdOptions : datakit::FileSelection {
  DictdOptions() { extensions = {".index"}; }
  Count entries_per_document = 1;
  Bytes max_document = 256 << 10;
};
OptionTable dictd_options();

class DictdSource final : public Source {
 public:
  DictdSource(HostContext& host, const DictdOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  Result<std::vector<datakit::FileShard>> list();

  struct Database {
    std::string body;
    Index index;
  };
  DictdOptions options_;
  std::map<std::string, Database> databases_; ///< by the index's path; constant after list()
  datakit::FileShards shards_;
};

} // namespace conclave::dictd
