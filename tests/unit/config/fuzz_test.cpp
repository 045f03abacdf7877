// 10,000 mutated experiments: no crash, no hang, no unknown key that passes, and what binds resolves to itself.
//
// Deterministic: mutation i is a pure function of i. A mutant that fails can be printed by its number.

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "conclave/random.hpp"
#include "config/experiment.hpp"
#include "config/sections.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::FakeCatalog;
using testing::Folder;

constexpr const char* seed_text = R"(conclave: 1
name: fuzz
vars: {text: /data, n: 3}
data:
  domains:
    web:    {share: 50, source: {use: source/jsonl, with: {paths: "${text}/*.jsonl"}}}
    papers: {share: 20, source: {use: source/jsonl, with: {paths: [p1, p2], text: body}}}
  filters:   [{use: filter/quality, with: {limit: 5%, weights: {a: 1, b: 2.5}}}, {use: filter/simhash, name: near, with: {distance: "${n}"}}]
  tokenizer: {use: tokenizer/sentencepiece, with: {model: tok/32k.model}}
  length:    {min: 512, max: 2048, too_long: drop}
  batching:
    mode: bucket
    drop_last: true
model:
  use: model/moe
  with:
    layers: 24
    router: {score: sigmoid, scale: 2.5}
optimizer:  {use: optimizer/adamw, with: {lr: 1e-4, betas: [0.9, 0.98]}}
scheduler:  {use: scheduler/chain, with: {restart: 2k, inner: {use: scheduler/cosine, with: {warmup: 7.5%, unused: 60s}}}}
precision:  {compute: fp16, loss_scale: {initial: 1024}}
parallel:   {tensor: 2, pipeline: 2, expert: 4, data: auto}
train:      {steps: 100k, batch: 4096, micro_batch: 8}
evaluate:   {every: 1000, batches: 2}
monitors:
  - use: monitor/console
  - {use: monitor/prometheus, with: {listen: "127.0.0.1:8000"}}
checkpoint: {use: checkpoint/keep-last, with: {every: 1000, keep: 5}}
)";

// Draws in order from one stream.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : stream_(seed, "fuzz") {}
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(stream_.below(next_++, bound)); }

 private:
  RandomStream stream_;
  std::uint64_t next_ = 0;
};

constexpr std::array<std::string_view, 34> tokens = {
    "!append ", "!prepend ",   "&a ",   "*a", "<<: ", "---\n", "...\n",     "~",    "null",
    "{",        "}",           "[",     "]",  ": ",   ", ",    "- ",        "\n",   "\n  ",
    "\t",       "\"",          "'",     "#",  "|\n",  ">\n",   "? ",        "${n}", "${text}",
    "$${",      "${env:HOME}", "1e999", "-0", "0x10", "use: ", "%TAG ! x\n"};

std::string mutate(std::string text, Draws& draws) {
  const std::size_t edits = 1 + draws.below(4);
  for (std::size_t edit = 0; edit < edits && !text.empty(); ++edit) {
    const std::size_t at = draws.below(text.size());
    switch (draws.below(7)) {
      case 0: text[at] = static_cast<char>(draws.below(256)); break;
      case 1: text.erase(at, 1 + draws.below(8)); break;
      case 2: text.insert(at, tokens[draws.below(tokens.size())]); break;
      case 3: { // a line twice, elsewhere
        const std::size_t begin = text.rfind('\n', at) + 1, end = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(begin, end - begin) + "\n";
        const std::size_t target = text.find('\n', draws.below(text.size()));
        text.insert(target == std::string::npos ? text.size() : target + 1, line);
        break;
      }
      case 4: { // a piece of the text elsewhere
        const std::string piece = text.substr(at, 1 + draws.below(40));
        text.insert(draws.below(text.size()), piece);
        break;
      }
      case 5: text.insert(at, std::string(1 + draws.below(200), tokens[draws.below(tokens.size())].front())); break;
      default: { // a wrong letter in a word
        const std::size_t word = text.find_first_of("abcdefghijklmnopqrstuvwxyz", at);
        if (word != std::string::npos) text[word] = static_cast<char>('a' + draws.below(26));
      }
    }
  }
  return text;
}

// Every key of the tree is one that its table knows, by a second, simpler walk than the binder's: through groups, maps of
// groups, plugin blocks alone and in lists, and their options.
class KnownKeys {
 public:
  explicit KnownKeys(FakeCatalog& catalog) : catalog_(catalog) {}

  void check(const Value& map, const std::vector<OptionSpec>& specs, const std::string& path) {
    for (const Value::Member& member : map.members()) {
      const std::string key = path + "." + member.key;
      const OptionSpec* found = nullptr;
      for (const OptionSpec& spec : specs) {
        if (spec.name == member.key) found = &spec;
        for (const std::string& alias : spec.deprecated_aliases)
          if (alias == member.key) found = &spec;
      }
      ASSERT_NE(found, nullptr) << "accepted unknown key " << key;
      if (found->type == OptionType::group) check(member.value, found->fields, key);
      if (found->type == OptionType::plugin && !member.value.is_null()) check_block(member.value, key, false);
      for (const Value& item : member.value.items()) {
        if (found->element == OptionType::plugin) check_block(item, key, true);
        if (found->element == OptionType::group) check(item, found->fields, key);
      }
      if (found->type == OptionType::map && found->element == OptionType::group)
        for (const Value::Member& entry : member.value.members()) check(entry.value, found->fields, key);
    }
  }

  std::size_t blocks = 0; ///< seen so far

 private:
  void check_block(const Value& block, const std::string& key, bool item) {
    ++blocks;
    for (const Value::Member& part : block.members())
      ASSERT_TRUE(part.key == "use" || part.key == "with" || (item && part.key == "name")) << key << "." << part.key;
    const auto plugin = catalog_.find(block.find("use")->text());
    ASSERT_TRUE(plugin.ok()) << key;
    if (const Value* with = block.find("with")) check(*with, (*plugin)->options.specs(), key + ".with");
  }

  FakeCatalog& catalog_;
};

TEST(Fuzz, TenThousandMutants) {
  const Folder folder;
  FakeCatalog catalog;
  const OptionTable& root = experiment_table();
  KnownKeys known(catalog);
  std::size_t bound = 0;
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    SCOPED_TRACE("mutant " + std::to_string(i));
    Draws draws(i);
    const std::string text = i == 0 ? seed_text : mutate(seed_text, draws);
    Diagnostics diagnostics;
    const auto experiment = load_experiment(folder.write("x.yaml", text), {}, catalog, diagnostics);
    ASSERT_EQ(experiment.has_value(), !diagnostics.has_errors()) << text;
    ASSERT_FALSE(diagnostics.has_errors() && diagnostics.render().empty());
    if (i == 0) {
      ASSERT_TRUE(experiment.has_value()) << diagnostics.render();
    }
    if (!experiment) continue;
    ++bound;
    known.check(experiment->tree, root.specs(), "");
    if (i == 0) {
      ASSERT_EQ(known.blocks, 12u) << "the walk must reach every block of the seed";
    }
    for (const PluginBlock& block : experiment->data.filters) ASSERT_TRUE(block);
    if (::testing::Test::HasFatalFailure()) return;
    Diagnostics again;
    const auto resolved = load_experiment(folder.write("r.yaml", experiment->resolved_yaml), {}, catalog, again);
    ASSERT_TRUE(resolved.has_value()) << again.render() << text << experiment->resolved_yaml;
    ASSERT_EQ(resolved->hash, experiment->hash) << experiment->resolved_yaml << resolved->resolved_yaml;
  }
  // Some mutants are still right (a changed number, a comment): the walk above saw them.
  EXPECT_GT(bound, 100u);
}

// Overrides are input, too.
TEST(Fuzz, Overrides) {
  const Folder folder;
  FakeCatalog catalog;
  const std::string file = folder.write("x.yaml", seed_text);
  constexpr std::array<std::string_view, 8> starts = {
      "train.steps=5",          "data.filters.near.with.distance=4",       "optimizer.with.betas.1=0.5",
      "model.with={layers: 3}", "filters=[{use: filter/quality}]",         "vars.n=7",
      "monitors.console=null",  "scheduler.with.inner.use=scheduler/chain"};
  for (std::uint64_t i = 0; i < 2'000; ++i) {
    SCOPED_TRACE("override " + std::to_string(i));
    Draws draws(1'000'000 + i);
    const std::string text = mutate(std::string(starts[i % starts.size()]), draws);
    Diagnostics diagnostics;
    const auto experiment = load_experiment(file, {{text}}, catalog, diagnostics);
    ASSERT_EQ(experiment.has_value(), !diagnostics.has_errors()) << text;
  }
}

} // namespace
} // namespace conclave
