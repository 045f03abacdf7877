// source/parquet: rows of Parquet files.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <string>

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"

namespace conclave::parquet_source {

struct ParquetOptions : datakit::FileSelection {
  ParquetOptions() { extensions = {".parquet"}; }
  std::string text = "text";
  std::string id, url, language;
};
OptionTable parquet_options();

class ParquetSource final : public Source {
 public:
  ParquetSource(HostContext& host, const ParquetOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  ParquetOptions options_;
  datakit::FileShards shards_;
};

} // namespace conclave::parquet_source
