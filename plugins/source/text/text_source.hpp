// source/text: plain text files, one document a file or a few paragraphs a document.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"

namespace conclave::text {

enum class PerDocument { file, paragraphs };
enum class Encoding { utf8, windows_1252 };

struct TextOptions : datakit::FileSelection {
  PerDocument per_document = PerDocument::file;
  Bytes paragraphs_size = 8 << 10;
  Bytes max_document = 1 << 20;
  Encoding encoding = Encoding::utf8;
};
OptionTable text_options();

class TextSource final : public Source {
 public:
  TextSource(HostContext& host, const TextOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  [[nodiscard]] Result<std::vector<datakit::FileShard>> list() const;

  TextOptions options_;
  datakit::FileShards shards_;
};

} // namespace conclave::text
