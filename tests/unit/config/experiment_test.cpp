// load_experiment(): good experiments bind as written; bad ones give every error at once, word for word.

#include "config/experiment.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "config/block_diagnostic.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::FakeCatalog;
using testing::Folder;
using testing::minimal;

struct Loaded {
  std::optional<Experiment> experiment;
  std::string problems;
  int exit_status = 0;
};

Loaded load(const Folder& folder, const std::string& text, const std::vector<std::string>& overrides = {}) {
  FakeCatalog catalog;
  Diagnostics diagnostics;
  Loaded loaded;
  loaded.experiment = load_experiment(folder.write("x.yaml", text), {overrides}, catalog, diagnostics);
  loaded.problems = testing::without_folder(diagnostics.render(), folder);
  if (diagnostics.has_errors()) loaded.exit_status = exit_code(diagnostics.error_code());
  // Descriptors die with the catalog; tests that look at blocks use their own.
  return loaded;
}

constexpr const char* whole = R"(conclave: 1
name: seed-10b
seed: 7
vars: {text: /data}
data:
  domains:
    web:    {share: 50, source: {use: source/jsonl, with: {paths: "${text}/cc/*.jsonl"}}}
    papers: {share: 20, source: {use: source/jsonl, with: {paths: [p1.jsonl, p2.jsonl], text: body}}}
  filters:   [{use: filter/quality}, {use: filter/simhash, name: near, with: {distance: 3, scope: global}}]
  tokenizer: {use: tokenizer/sentencepiece, with: {model: tok/32k.model}}
  length:    {min: 512, max: 2048, too_long: drop}
  batching:  {mode: bucket, drop_last: true}
model:      {use: model/moe, with: {layers: 24, width: 2048, router: {score: sigmoid}}}
optimizer:  {use: optimizer/adamw, with: {lr: 1e-4, betas: [0.9, 0.98]}}
scheduler:  {use: scheduler/chain, with: {restart: 2k, inner: {use: scheduler/cosine, with: {warmup: 7.5%}}}}
precision:  {compute: bf16}
parallel:   {tensor: 2, pipeline: 2, expert: 4, data: auto}
train:      {steps: 100k, batch: 4096, micro_batch: 8, label_smoothing: 0.1, clip_grad_norm: 1.0}
monitors:   [{use: monitor/console}, {use: monitor/prometheus, with: {listen: "127.0.0.1:8000"}}]
checkpoint: {use: checkpoint/keep-last, with: {every: 1000, keep: 5}}
)";

TEST(Experiment, BindsEverySection) {
  const Folder folder;
  FakeCatalog catalog;
  Diagnostics diagnostics;
  const auto experiment = load_experiment(folder.write("x.yaml", whole), {}, catalog, diagnostics);
  ASSERT_EQ(diagnostics.render(), "");
  ASSERT_TRUE(experiment.has_value());
  EXPECT_EQ(experiment->name, "seed-10b");
  EXPECT_EQ(experiment->seed, 7u);
  ASSERT_EQ(experiment->data.domains.size(), 2u);
  EXPECT_EQ(experiment->data.domains[0].name, "web");
  EXPECT_EQ(experiment->data.domains[0].share, 50);
  EXPECT_EQ(experiment->data.length.min, 512);
  EXPECT_EQ(experiment->data.length.too_long, TooLong::drop);
  EXPECT_EQ(experiment->data.batching.mode, BatchingMode::bucket);
  EXPECT_EQ(experiment->data.filters[1].name, "near");
  EXPECT_EQ(experiment->data.filters[1].key, "data.filters.near");
  EXPECT_EQ(experiment->train.steps, 100'000);
  EXPECT_EQ(experiment->precision.compute, Compute::bf16);
  EXPECT_EQ(experiment->parallel.data, 0);
  EXPECT_EQ(experiment->monitors.size(), 2u);
  ASSERT_EQ(experiment->scheduler.children.size(), 1u);
  EXPECT_EQ(experiment->scheduler.children[0].block.id, "scheduler/cosine");
  EXPECT_EQ(experiment->settings.at("scheduler.with.inner.with.warmup").value, "7.5%");
  EXPECT_EQ(experiment->settings.at("data.domains.web.source.with.paths").value, "[/data/cc/*.jsonl]");
  EXPECT_EQ(experiment->settings.at("data.domains.papers.source.with.paths").value,
            "[" + (folder.path() / "p1.jsonl").string() + ", " + (folder.path() / "p2.jsonl").string() + "]");
  EXPECT_EQ(experiment->settings.at("model.with.router.score").value, "sigmoid");
  EXPECT_EQ(experiment->settings.at("model.with.experts").origin, "default");
  EXPECT_EQ(experiment->settings.at("data.filters.near.with.distance").affects, Affects::selection);
  EXPECT_EQ(experiment->settings.at("monitors.prometheus.with.listen").affects, Affects::io);
  EXPECT_EQ(experiment->settings.at("data.filters").value, "[quality, near]");
}

TEST(Experiment, ResolvedYamlRunsAndResolvesToTheSame) {
  const Folder folder;
  const Loaded first = load(folder, whole);
  ASSERT_TRUE(first.experiment.has_value()) << first.problems;
  const Folder elsewhere; // paths are absolute by now
  const Loaded second = load(elsewhere, first.experiment->resolved_yaml);
  ASSERT_TRUE(second.experiment.has_value()) << second.problems << first.experiment->resolved_yaml;
  EXPECT_EQ(second.problems, "");
  EXPECT_EQ(first.experiment->hash, second.experiment->hash);
  ASSERT_EQ(first.experiment->settings.size(), second.experiment->settings.size());
  for (const auto& [key, setting] : first.experiment->settings) {
    EXPECT_EQ(setting.value, second.experiment->settings.at(key).value) << key;
    EXPECT_EQ(setting.affects, second.experiment->settings.at(key).affects) << key;
  }
  EXPECT_NE(first.experiment->resolved_yaml.find("lr: 1e-4  # " + folder.path().string() + "/x.yaml:14:47"),
            std::string::npos)
      << first.experiment->resolved_yaml;
}

TEST(Experiment, HashIsOfValuesNotOfText) {
  const Folder folder;
  const Loaded plain = load(folder, minimal());
  const Loaded spelled = load(folder, minimal("seed: 0 # the default\nprecision: {compute: fp32}\nname: other\n"));
  const Loaded other_seed = load(folder, minimal("seed: 1\n"));
  ASSERT_TRUE(plain.experiment && spelled.experiment && other_seed.experiment) << spelled.problems;
  EXPECT_EQ(plain.experiment->hash.size(), 64u);
  EXPECT_EQ(plain.experiment->hash, spelled.experiment->hash);
  EXPECT_NE(plain.experiment->hash, other_seed.experiment->hash);
  EXPECT_EQ(plain.experiment->hash_without_seed, other_seed.experiment->hash_without_seed);
  EXPECT_EQ(plain.experiment->name, "x");
}

TEST(Experiment, OrderOfFiltersIsPartOfTheHash) {
  const Folder folder;
  const Loaded a = load(folder, minimal(), {"data.filters=[{use: filter/quality}, {use: filter/simhash}]"});
  const Loaded b = load(folder, minimal(), {"data.filters=[{use: filter/simhash}, {use: filter/quality}]"});
  ASSERT_TRUE(a.experiment && b.experiment) << a.problems;
  EXPECT_NE(a.experiment->hash, b.experiment->hash);
}

TEST(Experiment, ADollarSurvivesResolving) {
  const Folder folder;
  const std::string text = minimal() + "vars: {unused: 1}\n";
  const Loaded first =
      load(folder, text, {"data.tokenizer={use: tokenizer/sentencepiece, with: {note: \"a$${b} # x\"}}", "vars=null"});
  ASSERT_TRUE(first.experiment) << first.problems;
  const Loaded second = load(folder, first.experiment->resolved_yaml);
  ASSERT_TRUE(second.experiment) << second.problems;
  EXPECT_EQ(second.experiment->settings.at("data.tokenizer.with.note").value,
            first.experiment->settings.at("data.tokenizer.with.note").value);
  EXPECT_EQ(first.experiment->hash, second.experiment->hash);
}

struct Bad {
  const char* name;
  std::string text;
  std::vector<std::string> overrides;
  std::string expected;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
class BadExperiments : public ::testing::TestWithParam<Bad> {};
TEST_P(BadExperiments, SayWhereWhatAndWhatToDo) {
  const Folder folder;
  const Loaded loaded = load(folder, GetParam().text, GetParam().overrides);
  EXPECT_EQ(loaded.problems, GetParam().expected);
  EXPECT_FALSE(loaded.experiment.has_value());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadExperiments,
    ::testing::Values(
        Bad{"nothing",
            "{}\n",
            {},
            "x.yaml:1:1: conclave: is required and missing: add it (integer): Version of the experiment's schema: 1.\n"
            "x.yaml:1:1: data: is required and missing: add it (group): From raw text to batches.\n"
            "x.yaml:1:1: model: is required and missing: add it (plugin): The network.\n"
            "x.yaml:1:1: optimizer: is required and missing: add it (plugin): How weights follow gradients.\n"
            "x.yaml:1:1: scheduler: is required and missing: add it (plugin): The learning rate over the steps.\n"
            "x.yaml:1:1: train: is required and missing: add it (group): The steps.\n"},
        Bad{"not_a_map", "[1]\n", {}, "x.yaml:1:1: an experiment is a map of sections: start with `conclave: 1`\n"},
        Bad{"version",
            minimal(),
            {"conclave=2"},
            "--set #1: conclave: this program reads schema version 1: write conclave: 1\n"},
        Bad{"section_typo",
            minimal("trian: {steps: 5}\n"),
            {},
            "x.yaml:9:1: trian: unknown option: did you mean train? (group)\n"},
        Bad{"option_typo",
            minimal(),
            {"optimizer.with.weight_decy=0.2"},
            "--set #1: optimizer.with.weight_decy: unknown option: did you mean weight_decay? (number in [0, 1], "
            "default 0.1)\n"},
        Bad{"several_at_once",
            minimal("evaluate: {evry: 5, batches: -1}\nseed: x\n"),
            {},
            "x.yaml:9:12: evaluate.evry: unknown option: did you mean every? (count of at least 0, default 0)\n"
            "x.yaml:9:30: evaluate.batches: '-1' is out of range: give a value of at least 0\n"
            "x.yaml:10:7: seed: expected a whole number, found 'x': write a whole number such as 8\n"},
        Bad{"unknown_plugin",
            minimal(),
            {"model.use=model/meo"},
            "--set #1: model.use: there is no plugin 'model/meo': did you mean model/moe?\n"},
        Bad{"wrong_kind",
            minimal(),
            {"model.use=optimizer/adamw"},
            "--set #1: model.use: expected the id of a model, found 'optimizer/adamw': write model/...\n"},
        Bad{"no_kind",
            minimal(),
            {"model.use=moe"},
            "--set #1: model.use: expected the id of a model, found 'moe': write model/moe\n"},
        Bad{"block_key",
            minimal("checkpoint: {use: checkpoint/keep-last, wth: {every: 5}}\n"),
            {},
            "x.yaml:9:41: checkpoint.wth: unknown key of a plugin block: did you mean with?\n"},
        Bad{"option_beside_with",
            minimal("checkpoint: {use: checkpoint/keep-last, every: 5, with: {keeep: 1}}\n"),
            {},
            "x.yaml:9:41: checkpoint.every: unknown key of a plugin block: a block has use and with; options go under "
            "with\n"
            "x.yaml:9:58: checkpoint.with.keeep: unknown option: did you mean keep? (integer, default 5)\n"},
        Bad{"no_value",
            minimal("seed:\n"),
            {},
            "x.yaml:9:1: seed: has no value: write one (integer), or remove the key to get the default\n"},
        Bad{"bad_range",
            minimal(),
            {"model.with.layers=0"},
            "--set #1: model.with.layers: '0' is out of range: give a value in [1, 1000]\n"},
        Bad{"bad_unit",
            minimal(),
            {"train.steps=5q"},
            "--set #1: train.steps: '5q' has the unknown unit 'q': use k, M, G or T, as in 100k\n"},
        Bad{"octal",
            minimal(),
            {"train.steps=010"},
            "--set #1: train.steps: '010' starts with a zero, which some readers take as octal: write it without the "
            "leading zero\n"},
        Bad{"list_length",
            minimal(),
            {"optimizer.with.betas=[0.9]"},
            "--set #1: optimizer.with.betas: expected 2 values, found 1\n"},
        Bad{"list_element",
            minimal(),
            {"optimizer.with.betas=[0.9, 1.5]"},
            "--set #1: optimizer.with.betas[1]: '1.5' is out of range: give a value in [0, 1]\n"},
        Bad{"validate", minimal(), {"model.with.top_k=17"}, "--set #1: model.with.top_k: is above experts: lower it\n"},
        Bad{"child",
            minimal(),
            {"scheduler={use: scheduler/chain, with: {inner: {use: scheduler/cosine, with: {warmup: 200%}}}}"},
            "--set #1: scheduler.with.inner.with.warmup: '200%' is not a share of a whole: give 0% to 100%\n"},
        Bad{"child_unknown",
            minimal(),
            {"scheduler={use: scheduler/chain, with: {inner: {use: scheduler/cosin}}}"},
            "--set #1: scheduler.with.inner.use: there is no plugin 'scheduler/cosin': did you mean "
            "scheduler/cosine?\n"},
        Bad{"throwing_validate",
            minimal(),
            {"model.with.layers=999"},
            "x.yaml:5:14: model.with: model/moe: bind_options() threw std::runtime_error: validate threw: a bug of the "
            "plugin in /plugins/model-moe.so: tell its author with the run's log and record.json, or leave the plugin "
            "out\n"},
        Bad{"throwing_render",
            minimal(),
            {"scheduler.use=scheduler/unwritten"},
            "--set #1: scheduler.with: scheduler/unwritten: render_options() threw std::runtime_error: render threw: a "
            "bug of the plugin in /plugins/scheduler-unwritten.so: tell its author with the run's log and record.json, "
            "or leave the plugin out\n"},
        Bad{"name_of_a_block",
            minimal(),
            {"model.name=mine"},
            "--set #1: model.name: only the items of a list have a name: remove it: this block is known as model\n"},
        Bad{"name_of_an_item",
            minimal(),
            {"monitors=[{use: monitor/console, name: a.b}]"},
            "--set #1: monitors[0].name: cannot name a plugin block: use letters, digits, - and _, not only digits\n"},
        Bad{"deleting_a_domain_that_is_not_there",
            minimal(),
            {"data.domains.wbe=null"},
            "--set #1: data.domains.wbe: there is no domain of this name to delete: remove the line\n"},
        Bad{"deleting_a_key_that_is_not_there",
            minimal(),
            {"precisoin=null", "train.clip=null"},
            "--set #2: train.clip: unknown option: the options here are steps, batch, micro_batch, label_smoothing, "
            "z_loss, clip_grad_norm, grad_norm_limit, max_skipped, recompute, cuda_graphs, operators\n"
            "--set #1: precisoin: unknown option: did you mean precision? (group)\n"},
        Bad{"a_missing_base",
            "conclave: 1\nextends: none.yaml\nvars: {a: 1}\noptimizer: {with: {lr: 1}}\n"
            "data: {filters: {simhash: {with: {distance: 3}}}, length: {min: 4096}}\n"
            "train: {stpes: 5, batch: \"${b}\"}\n",
            {},
            "x.yaml:2:10: extends: there is no file none.yaml: a path here is relative to the file that names it\n"
            "x.yaml:6:9: train.stpes: unknown option: did you mean steps? (count in [1, 1e9])\n"},
        Bad{"same_name",
            minimal("monitors: [{use: monitor/console}, {use: monitor/console}]\n"),
            {},
            "x.yaml:9:36: monitors.console: a second monitor of this name: give it a name: of its own\n"},
        Bad{"domain_name",
            minimal(),
            {"data.domains={\"a b\": {source: {use: source/jsonl, with: {paths: x}}}}"},
            "--set #1: data.domains.a b: is not a name of a domain: use letters, digits, - and _\n"},
        Bad{"no_source",
            minimal(),
            {"data.domains={new: {share: 1}}"},
            "--set #1: data.domains.new.source: is required and missing: add it (plugin): Where its documents come "
            "from.\n"},
        Bad{"no_domain",
            minimal(),
            {"data.domains.web=null"},
            "x.yaml:3:12: data.domains: there is no domain: add one: name: {share: 1, source: {use: source/...}}\n"},
        Bad{"share",
            minimal(),
            {"data.domains.web.share=0"},
            "--set #1: data.domains.web.share: '0' is out of range: give a value above 0\n"},
        Bad{"skipped_filter",
            minimal(),
            {"data.filters=[{use: filter/simhash, name: near, with: {distance: 3}}]",
             "data.domains.web.skip_filters=[nera]"},
            "--set #2: data.domains.web.skip_filters: there is no filter named nera: did you mean near?\n"},
        Bad{"length",
            minimal(),
            {"data.length={min: 10, max: 5}"},
            "--set #1: data.length.min: 10 is above max 5: lower min or raise max\n"},
        Bad{"partial_batches",
            minimal(),
            {"data.batching.drop_last=false"},
            "--set #1: data.batching.drop_last: every batch is full: one at the end of a pass over the text is filled "
            "up "
            "from the next pass: remove it, or write drop_last: true\n"},
        Bad{"batch",
            minimal("parallel: {data: 3}\n"),
            {"train.micro_batch=2"},
            "x.yaml:8:28: train.batch: 8 is not a multiple of micro_batch x parallel.data = 2 x 3 = 6: write 6 or "
            "12\n"},
        Bad{"products_of_ranks",
            minimal("parallel: {data: 1048576, tensor: 1024, expert: 7}\n"),
            {},
            "x.yaml:9:49: parallel.expert: 7 does not divide data x tensor = 1048576 x 1024 = 1073741824: experts are "
            "spread over these ranks: give a divisor of 1073741824\n"},
        Bad{"more_ranks_than_there_are",
            minimal(),
            {"parallel.data=2147483647", "train.steps=1e10"},
            "--set #2: train.steps: '1e10' is out of range: give a value in [1, 1e9]\n"
            "--set #1: parallel.data: '2147483647' is out of range: give a value in [1, 1048576]\n"},
        Bad{"batch_of_many_ranks",
            minimal("parallel: {data: 1048576}\n"),
            {"train.micro_batch=999999999", "train.batch=999999999"},
            "--set #2: train.batch: 999999999 is not a multiple of micro_batch x parallel.data = 999999999 x 1048576 = "
            "1048575998951424: write 1048575998951424\n"},
        Bad{"experts",
            minimal("parallel: {data: 3, tensor: 2, expert: 4}\n"),
            {},
            "x.yaml:9:40: parallel.expert: 4 does not divide data x tensor = 3 x 2 = 6: experts are spread over these "
            "ranks: give a divisor of 6\n"},
        Bad{"held_out",
            minimal("evaluate: {every: 5}\n"),
            {"data.held_out=0"},
            "--set #1: data.held_out: is 0, but evaluate needs held-out text: write data: {held_out: 1%}, or evaluate: "
            "{batches: 0}\n"},
        Bad{"undefined_variable",
            minimal("vars: {step: 5}\n"),
            {"train.steps=${steps}"},
            "--set #1: train.steps: the variable 'steps' is not defined: did you mean ${step}?\n"
            "x.yaml:9:8: warning: vars.step: is never used: remove it, or write ${step}\n"},
        Bad{"run_name",
            minimal("name: a/b\n"),
            {},
            "x.yaml:9:7: name: cannot name a folder: use letters, digits, -, _ and dots, a letter or digit first\n"},
        Bad{"bad_override",
            minimal(),
            {"train.steps"},
            "--set #1: 'train.steps' is not an override: write --set section.key=value\n"},
        Bad{"yaml",
            "conclave: 1\nmodel: [\n",
            {},
            "x.yaml:3:1: not YAML: end of sequence flow not found: see the line before, too: an open quote or bracket, "
            "or a wrong indentation\n"}),
    [](const auto& param_info) { return param_info.param.name; });

// What a resume may change without being asked: a wrong word here refuses it, or lets other numbers through.
TEST(Experiment, OnlyWhatChangesTheNumbersAffectsThem) {
  const Folder folder;
  const Loaded loaded = load(folder, minimal());
  ASSERT_TRUE(loaded.experiment) << loaded.problems;
  std::map<Affects, std::vector<std::string>> others;
  for (const auto& [key, setting] : loaded.experiment->settings)
    if (setting.affects != Affects::numerics) others[setting.affects].push_back(key);
  const std::map<Affects, std::vector<std::string>> expected = {
      {Affects::speed,
       {"data.memory", "data.workers", "parallel.bucket", "parallel.data", "parallel.expert", "parallel.pipeline",
        "parallel.shard_optimizer", "parallel.tensor", "parallel.virtual_stages", "train.cuda_graphs",
        "train.recompute"}},
      {Affects::io,
       {"data.cache", "evaluate.batches", "evaluate.every", "monitors", "parallel.lost_after", "parallel.timeout",
        "train.max_skipped"}},
      {Affects::naming, {"conclave", "hardware.gpu_memory", "hardware.gpus", "hardware.storage", "name"}}};
  EXPECT_EQ(others, expected);
}

// A plugin at fault is not a mistake of the experiment, unless there is one of those, too.
TEST(Experiment, AFaultOfAPluginKeepsItsExitCode) {
  const Folder folder;
  EXPECT_EQ(load(folder, minimal(), {"model.with.layers=999"}).exit_status, 1);
  EXPECT_EQ(load(folder, minimal(), {"scheduler.use=scheduler/unwritten"}).exit_status, 1);
  const Loaded old = load(folder, minimal(), {"optimizer.use=optimizer/old"});
  EXPECT_EQ(old.exit_status, 3);
  EXPECT_EQ(old.problems, "--set #1: optimizer.use: /plugins/old.so: plugin optimizer/old is quarantined: too old\n");
  EXPECT_EQ(load(folder, minimal(), {"optimizer.use=optimizer/old", "train.stpes=5"}).exit_status, 2);
}

TEST(BlockDiagnostic, SaysWhereWhoseAndKeepsTheCode) {
  PluginDescriptor descriptor;
  descriptor.library = "/plugins/a.so";
  PluginBlock block;
  block.id = "scheduler/a";
  block.key = "scheduler";
  block.where = {std::make_shared<const std::string>("x.yaml"), 7, 3};
  const auto told = [&](Error error) { return diagnostic_of(std::move(error), block).render(); };
  EXPECT_EQ(told({Code::invalid_argument, "x.yaml:7:3 (scheduler/a)", "is wrong", "mend it"}),
            "x.yaml:7:3: scheduler: scheduler/a: is wrong: mend it");
  block.descriptor = &descriptor;
  EXPECT_EQ(told(unsupported("needs a GPU")), "x.yaml:7:3: scheduler: needs a GPU (in /plugins/a.so)");
  EXPECT_EQ(diagnostic_of(unsupported("x"), block).code, Code::unsupported);
  EXPECT_EQ(diagnostic_of(internal_error("x"), block, "scheduler.with").key, "scheduler.with");
  EXPECT_NE(told(internal_error("threw", "x.yaml:9:1 (scheduler/inner)"))
                .find("scheduler: x.yaml:9:1 (scheduler/inner): threw: a bug of the plugin in /plugins/a.so"),
            std::string::npos);
}

TEST(Experiment, NullOverNothingIsNoError) {
  const Folder folder;
  const Loaded plain = load(folder, minimal());
  const Loaded nulls = load(folder, minimal(),
                            {"precision=null", "checkpoint=null", "monitors=null", "data.filters=null", "seed=null",
                             "data.length.min=null", "optimizer.with.lr=null"});
  EXPECT_EQ(nulls.problems, "");
  ASSERT_TRUE(plain.experiment && nulls.experiment);
  EXPECT_EQ(plain.experiment->hash, nulls.experiment->hash);
  folder.write("base.yaml", minimal());
  const Loaded above = load(folder, "extends: base.yaml\nprecision: null\nevaluate: {every: null}\n");
  EXPECT_EQ(above.problems, "");
  ASSERT_TRUE(above.experiment);
  EXPECT_EQ(plain.experiment->hash, above.experiment->hash);
}

TEST(Experiment, EveryBlockHasAKeyOfItsOwn) {
  const Folder folder;
  FakeCatalog catalog;
  Diagnostics diagnostics;
  const auto experiment = load_experiment(folder.write("x.yaml", whole), {}, catalog, diagnostics);
  ASSERT_TRUE(experiment) << diagnostics.render();
  std::vector<std::string> keys = {experiment->scheduler.key, experiment->scheduler.children[0].block.key};
  for (const DomainSection& domain : experiment->data.domains) keys.push_back(domain.source.key);
  for (const PluginBlock& filter : experiment->data.filters) keys.push_back(filter.key);
  EXPECT_EQ(keys,
            (std::vector<std::string>{"scheduler", "scheduler.with.inner", "data.domains.web.source",
                                      "data.domains.papers.source", "data.filters.quality", "data.filters.near"}));
}

TEST(Experiment, TheLargestSeedResolvesToItself) {
  const Folder folder;
  const Loaded first = load(folder, minimal(), {"seed=18446744073709551615"});
  ASSERT_TRUE(first.experiment) << first.problems;
  EXPECT_EQ(first.experiment->seed, std::numeric_limits<std::uint64_t>::max());
  const Loaded second = load(folder, first.experiment->resolved_yaml);
  ASSERT_TRUE(second.experiment) << second.problems;
  EXPECT_EQ(first.experiment->hash, second.experiment->hash);
  EXPECT_EQ(load(folder, minimal(), {"seed=-1"}).problems,
            "--set #1: seed: '-1' is out of range: give a value of at least 0\n");
}

TEST(Experiment, AnErrorNamesThePlaceOfTheVariable) {
  const Folder folder;
  const std::string text = minimal("seed: ${seed}\nvars: {seed: 1}\n");
  EXPECT_EQ(load(folder, text).problems, "");
  EXPECT_EQ(load(folder, text, {"vars.seed=-1"}).problems,
            "x.yaml:9:7: seed: '-1' is out of range (${seed} from --set #1): give a value of at least 0\n");
}

TEST(Experiment, ParallelIsDegreesOrAuto) {
  const Folder folder;
  const Loaded chosen = load(folder, minimal("parallel: auto\n"));
  EXPECT_EQ(chosen.problems, "");
  ASSERT_TRUE(chosen.experiment.has_value());
  EXPECT_TRUE(chosen.experiment->parallel.automatic);
  EXPECT_EQ(chosen.experiment->settings.at("parallel").value, "auto");
  EXPECT_EQ(chosen.experiment->settings.at("parallel").affects, Affects::speed);
  const Loaded again = load(folder, chosen.experiment->resolved_yaml);
  EXPECT_EQ(again.problems, "");
  ASSERT_TRUE(again.experiment.has_value());
  EXPECT_EQ(again.experiment->hash, chosen.experiment->hash);

  const Loaded written = load(folder, minimal("parallel: auto\n"), {"parallel.tensor=2"});
  ASSERT_TRUE(written.experiment.has_value());
  EXPECT_FALSE(written.experiment->parallel.automatic);
  EXPECT_EQ(written.experiment->parallel.tensor, 2);
  EXPECT_TRUE(load(folder, minimal("parallel: {tensor: 2}\n"), {"parallel=auto"}).experiment->parallel.automatic);
  EXPECT_EQ(load(folder, minimal("parallel: aut\n")).problems,
            "x.yaml:9:11: parallel: expected degrees or auto, found 'aut': write auto, or a map such as {tensor: 2}\n");
}

TEST(Experiment, HardwareIsNoPartOfTheRun) {
  const Folder folder;
  const Loaded without = load(folder, minimal());
  const Loaded with = load(folder, minimal("hardware: {gpus: 8, gpu_memory: 80GB, storage: 2TB}\n"));
  EXPECT_EQ(with.problems, "");
  ASSERT_TRUE(with.experiment.has_value());
  EXPECT_EQ(with.experiment->hardware.gpus, 8);
  EXPECT_EQ(with.experiment->hardware.gpu_memory, 80'000'000'000);
  EXPECT_EQ(with.experiment->hardware.storage, 2'000'000'000'000);
  EXPECT_EQ(with.experiment->hash, without.experiment->hash);
}

TEST(Experiment, SaysWhenALibraryIsPassedOver) {
  const Folder folder;
  const Loaded loaded = load(folder, minimal(), {"optimizer.use=optimizer/sgd"});
  EXPECT_EQ(loaded.problems, "--set #1: warning: optimizer.use: passes over /plugins/old.so\n");
  EXPECT_TRUE(loaded.experiment);
}

TEST(Experiment, WarnsOfOldNamesAndOfWhatHasNoEffect) {
  const Folder folder;
  const Loaded loaded = load(folder, minimal("precision: {loss_scale: {initial: 8}}\n"), {"model.with.n_experts=4"});
  EXPECT_EQ(loaded.problems,
            "--set #1: warning: model.with.n_experts: is an old name: write experts\n"
            "x.yaml:9:25: warning: precision.loss_scale: has no effect, since compute is not fp16: remove it\n");
  ASSERT_TRUE(loaded.experiment.has_value());
  EXPECT_EQ(loaded.experiment->settings.at("model.with.experts").value, "4");
  EXPECT_EQ(loaded.experiment->settings.at("model.with.experts").origin, "--set #1");
}

} // namespace
} // namespace conclave
