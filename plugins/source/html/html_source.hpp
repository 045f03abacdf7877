// source/html: the main text of HTML files, a page or a section a document.
//
// Threading: as source.hpp asks; open() may run on any thread, a reader belongs to one.
#pragma once

#include "conclave/datakit/files.hpp"
#include "conclave/datakit/shards.hpp"
#include "conclave/host.hpp"
#include "conclave/source.hpp"

namespace conclave::html {

enum class Split { file, sections };

struct HtmlOptions : datakit::FileSelection {
  HtmlOptions() { extensions = {".html", ".htm", ".xhtml", ".html.gz", ".htm.gz", ".html.zst"}; }
  Split split = Split::file;
  Bytes min_text = 200;
  Bytes max_page = 32 << 20;
};
OptionTable html_options();

class HtmlSource final : public Source {
 public:
  HtmlSource(HostContext& host, const HtmlOptions& options);
  Result<std::vector<ShardInfo>> shards() override { return shards_.infos(); }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo& shard) override;

 private:
  HtmlOptions options_;
  datakit::FileShards shards_;
};

} // namespace conclave::html
