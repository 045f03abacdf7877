// filter/pii: puts other e-mail and IP addresses in place of those in the text. Drops nothing.
//
// The replacements are datatrove's: addresses of example domains, and public IP addresses that answered nothing when the
// list was made. Each text takes them in turn from the first one, so that its edit depends on it alone.

#include "addresses.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::pii {
namespace {

struct Options {
  bool emails = true, ip_addresses = true, public_only = true;
  std::vector<std::string> email_replacements = {"email@example.com", "firstname.lastname@example.org"};
  std::vector<std::string> ip_replacements = {"22.214.171.124", "126.96.36.199",  "188.8.131.52",
                                              "184.108.40.206", "220.127.116.11", "18.104.22.168"};
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("emails", &Options::emails)
      .doc("Replace e-mail addresses.")
      .opt("ip_addresses", &Options::ip_addresses)
      .doc("Replace IPv4 addresses.")
      .opt("public_only", &Options::public_only)
      .doc("Leave addresses of private, local and reserved networks alone: they name nobody.")
      .opt("email_replacements", &Options::email_replacements)
      .doc("What takes their place, in turn.")
      .opt("ip_replacements", &Options::ip_replacements)
      .doc("What takes their place, in turn.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.email_replacements.empty())
          report.error("email_replacements", "the list is empty", "give one, or emails: false");
        if (o.ip_replacements.empty())
          report.error("ip_replacements", "the list is empty", "give one, or ip_addresses: false");
      })
      .build();
}

class Pii final : public EditFilter {
 public:
  Pii(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"emails", ColumnType::integer, "e-mail addresses that are replaced"},
            {"ip_addresses", ColumnType::integer, "IPv4 addresses that are replaced"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      std::string without_emails;
      const std::int64_t emails = replace_emails(documents[row].text, without_emails);
      std::string out;
      writer.set(row, 0, emails);
      writer.set(row, 1, replace_addresses(emails > 0 ? without_emails : documents[row].text, out));
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

  bool edit(const Document& document, std::string& out) const override {
    const std::int64_t emails = replace_emails(document.text, out);
    std::string both;
    if (replace_addresses(emails > 0 ? out : document.text, both) == 0) return emails > 0;
    out = std::move(both);
    return true;
  }

 private:
  /// `find` gives spans of `text` from a position on; those that `counts` are replaced. What it returns is how many; `out`
  /// is `text` with them replaced, and untouched when there are none.
  template <class Find, class Counts>
  static std::int64_t replace(std::string_view text, const std::vector<std::string>& replacements, Find find,
                              Counts counts, std::string& out) {
    std::size_t copied = 0, replaced = 0;
    for (Span span = find(text, 0); !span.empty(); span = find(text, span.end)) {
      const std::string_view found = text.substr(span.begin, span.end - span.begin);
      if (!counts(found)) continue;
      if (replaced == 0) out.clear();
      out += text.substr(copied, span.begin - copied);
      out += replacements[replaced++ % replacements.size()];
      copied = span.end;
    }
    if (replaced > 0) out += text.substr(copied);
    return static_cast<std::int64_t>(replaced);
  }
  std::int64_t replace_emails(std::string_view text, std::string& out) const {
    if (!options_.emails) return 0;
    return replace(
        text, options_.email_replacements, find_email, [](std::string_view) { return true; }, out);
  }
  std::int64_t replace_addresses(std::string_view text, std::string& out) const {
    if (!options_.ip_addresses) return 0;
    const auto counts = [this](std::string_view address) { return !options_.public_only || is_public_ipv4(address); };
    return replace(text, options_.ip_replacements, find_ipv4, counts, out);
  }

  Options options_;
};

} // namespace
} // namespace conclave::pii

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::pii::Pii, conclave::pii::Options>(
    {.id = "filter/pii",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Puts other e-mail and IP addresses in place of those in the text",
     .licence = "MIT"},
    conclave::pii::table()))
