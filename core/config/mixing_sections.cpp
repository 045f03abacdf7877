// Tables of the mixture's options; a stage of the curriculum has one, too.

#include "config/mixing_sections.hpp"

#include <algorithm>
#include <memory>

#include "config/experiment.hpp"
#include "config/keys.hpp"

namespace conclave {
namespace {

OptionTable stage_table() {
  return OptionTableBuilder<CurriculumSection>()
      .opt("from", &CurriculumSection::from)
      .required()
      .doc("First step of the stage: a number, or a share of train.steps. It ends where the next one begins.")
      .opt("shares", &CurriculumSection::shares)
      .at_least(0)
      .doc("Share of each domain, all of them named; 0 leaves one out. Without it: as outside a curriculum.")
      .opt("length", &CurriculumSection::length)
      .at_least(1)
      .doc(
          "Longest sequence, in tokens. mode pack: a divisor of length.max, whose sequences are cut into as many; mode "
          "bucket: a document's first tokens. Without it: length.max.")
      .validate([](const CurriculumSection& stage, OptionReport& report) {
        const auto given = [](const auto& share) { return share.second > 0; };
        if (!stage.shares.empty() && std::none_of(stage.shares.begin(), stage.shares.end(), given))
          report.error("shares", "gives no share above 0 to any domain", "raise one");
      })
      .build();
}

} // namespace

OptionTable weights_table() {
  return OptionTableBuilder<WeightsSection>()
      .choice(
          "rule", &WeightsSection::rule,
          {{"given", MixtureRule::given}, {"temperature", MixtureRule::temperature}, {"unimax", MixtureRule::unimax}})
      .doc(
          "given: each domain's `share`. temperature: its size to the power of alpha. unimax: all alike, but none more "
          "often than `passes` in the whole run (Chung et al. 2023). Sizes are counted in sequences of prepared data.")
      .opt("alpha", &WeightsSection::alpha)
      .range(0, 1)
      .doc("With temperature: 1 in proportion to the sizes, 0 all alike.")
      .opt("passes", &WeightsSection::passes)
      .above(0)
      .doc("With unimax: most passes over a domain's text in the run.")
      .build();
}

OptionSpec curriculum_spec() {
  const auto table = std::make_shared<const OptionTable>(stage_table());
  OptionSpec spec;
  spec.name = "curriculum";
  spec.type = OptionType::list;
  spec.element = OptionType::group;
  spec.default_text = "[]";
  spec.doc = "Stages of the run, each with shares and a length of its own.";
  spec.fields = table->specs();
  spec.parse = [table](const Value& value, const std::string& key, const OptionSpec&, const BindContext& context,
                       void* object, Diagnostics& diagnostics, std::vector<ChildRequest>& children) {
    if (!detail::expect_list(value, key, diagnostics)) return;
    auto& stages = static_cast<DataSection*>(object)->curriculum;
    for (std::size_t i = 0; i < value.items().size(); ++i)
      table->bind(value.items()[i], key + "[" + std::to_string(i) + "]", context, &stages.emplace_back(), diagnostics,
                  children);
  };
  spec.render = [table](const void* object) {
    std::string text = "[";
    for (const CurriculumSection& stage : static_cast<const DataSection*>(object)->curriculum) {
      text += text.size() > 1 ? ", {" : "{";
      for (const auto& [name, value] : table->render(&stage))
        text += (text.back() == '{' ? "" : ", ") + name + ": " + value;
      text += "}";
    }
    return text + "]";
  };
  return spec;
}

OptionTable fill_in_middle_table() {
  using Section = FillInMiddleSection;
  return OptionTableBuilder<Section>()
      .opt("rate", &Section::rate)
      .doc("Share of the documents that are rearranged so that their middle comes last; 0: none.")
      .opt("spm", &Section::spm)
      .doc("Of those, the share in the order suffix, prefix, middle; the others have prefix, suffix, middle.")
      .opt("prefix", &Section::prefix)
      .doc("The tokenizer's token before the prefix, as it is written: <|fim_begin|>.")
      .opt("suffix", &Section::suffix)
      .doc("The token before the suffix.")
      .opt("middle", &Section::middle)
      .doc("The token before the middle.")
      .opt("domains", &Section::domains)
      .doc("Only in these; empty: in all.")
      .validate([](const Section& section, OptionReport& report) {
        if (section.rate == 0) return;
        const std::string* marks[] = {&section.prefix, &section.suffix, &section.middle};
        const char* names[] = {"prefix", "suffix", "middle"};
        for (std::size_t i = 0; i < 3; ++i) {
          if (marks[i]->empty())
            report.error(names[i], "is needed where documents are rearranged", "name a token of the tokenizer");
          for (std::size_t j = 0; j < i; ++j)
            if (!marks[i]->empty() && *marks[i] == *marks[j])
              report.error(names[i], "is the same token as " + std::string(names[j]), "name another one");
        }
      })
      .build();
}

} // namespace conclave
