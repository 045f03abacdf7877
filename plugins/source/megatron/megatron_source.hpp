// source/megatron: text that Megatron's tools have turned into token ids, turned back.
//
// Why back: filters, deduplication and the held-out split go by text, so a way for ids around them would be a second
// pipeline. What byte-level BPE and SentencePiece encode they decode without loss, and encode to the same ids again.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include <string>
#include <unordered_map>

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::megatron {

struct MegatronOptions : datakit::FileSelection {
  MegatronOptions() { extensions = {".idx"}; }
  Child<Tokenizer> tokenizer;
  Bytes max_document = 64 << 20;
};
OptionTable megatron_options();

class MegatronSource final : public Source {
 public:
  /// A tokenizer that has yet to be trained is an error: it cannot have written the data.
  static Result<std::shared_ptr<MegatronSource>> make(HostContext& host, const MegatronOptions& options);
  explicit MegatronSource(const MegatronOptions& options);

  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  [[nodiscard]] Result<std::vector<datakit::FileShard>> list() const;

  MegatronOptions options_;
  datakit::FileShards shards_;
};

} // namespace conclave::megatron
