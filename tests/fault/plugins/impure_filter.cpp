// A filter whose columns depend on what came before; one option has no doc.
#include "conclave/filter.hpp"
using namespace conclave;
namespace {
struct Options {
  int n = 1;
};
class Impure final : public Filter {
 public:
  Impure(HostContext&, const Options&) {}
  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"seen", ColumnType::integer, "Documents so far."}};
  }
  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i) writer.set(i, 0, ++seen_);
  }
  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

 private:
  std::int64_t seen_ = 0;
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<Impure, Options>({"filter/impure", "1.0.0", 1, "A filter for tests of the host.",
                                                   "Apache-2.0"},
                                                  OptionTableBuilder<Options>().opt("n", &Options::n).build()))
