#include "unit/config/fake_catalog.hpp"

#include <stdlib.h>

#include <fstream>
#include <stdexcept>

#include "conclave/options.hpp"
#include "conclave/scheduler.hpp"

namespace conclave::testing {

FakeCatalog::FakeCatalog() {
  struct Text {
    std::vector<Path> paths;
    std::string text = "text";
  };
  add("source/jsonl", OptionTableBuilder<Text>()
                          .opt("paths", &Text::paths)
                          .required()
                          .doc("Files to read.")
                          .opt("text", &Text::text)
                          .doc("Field with the text.")
                          .build());
  enum class Scope { domain, global };
  struct Simhash {
    int distance = 3;
    Scope scope = Scope::global;
  };
  add("filter/simhash", OptionTableBuilder<Simhash>()
                            .opt("distance", &Simhash::distance)
                            .range(0, 64)
                            .affects(Affects::selection)
                            .doc("Bits that may differ.")
                            .choice("scope", &Simhash::scope, {{"domain", Scope::domain}, {"global", Scope::global}})
                            .build());
  struct Quality {
    Fraction limit = 0.3;
    std::map<std::string, double> weights;
  };
  add("filter/quality", OptionTableBuilder<Quality>()
                            .opt("limit", &Quality::limit)
                            .opt("weights", &Quality::weights)
                            .range(0, 10)
                            .build());
  struct Tokens {
    Path model;
    std::string note = "a: b # c";
  };
  add("tokenizer/sentencepiece",
      OptionTableBuilder<Tokens>().opt("model", &Tokens::model).opt("note", &Tokens::note).build());
  add("tokenizer/bytes", OptionTable{});
  struct Router {
    std::string score = "softmax";
    std::optional<double> scale;
  };
  struct Moe {
    int layers = 2, width = 64, experts = 16, top_k = 2;
    Router router;
  };
  add("model/moe", OptionTableBuilder<Moe>()
                       .opt("layers", &Moe::layers)
                       .range(1, 1000)
                       .opt("width", &Moe::width)
                       .at_least(8)
                       .opt("experts", &Moe::experts)
                       .at_least(1)
                       .deprecated_alias("n_experts")
                       .opt("top_k", &Moe::top_k)
                       .at_least(1)
                       .group("router", &Moe::router,
                              OptionTableBuilder<Router>()
                                  .opt("score", &Router::score)
                                  .doc("How experts are scored.")
                                  .opt("scale", &Router::scale)
                                  .build())
                       .validate([](const Moe& moe, OptionReport& report) {
                         if (moe.top_k > moe.experts) report.error("top_k", "is above experts", "lower it");
                         if (moe.layers == 999) throw std::runtime_error("validate threw");
                       })
                       .build());
  struct Adam {
    double lr = 1e-4;
    std::vector<double> betas = {0.9, 0.98};
    double weight_decay = 0.1;
  };
  add("optimizer/adamw", OptionTableBuilder<Adam>()
                             .opt("lr", &Adam::lr)
                             .above(0)
                             .doc("Peak learning rate.")
                             .opt("betas", &Adam::betas)
                             .length(2)
                             .range(0, 1)
                             .opt("weight_decay", &Adam::weight_decay)
                             .range(0, 1)
                             .build());
  struct Momentum {
    double lr = 0.1, momentum = 0.9;
  };
  add("optimizer/sgd",
      OptionTableBuilder<Momentum>().opt("lr", &Momentum::lr).opt("momentum", &Momentum::momentum).build());
  struct Cosine {
    StepsOrFraction warmup = StepsOrFraction::of_fraction(0.05);
    Seconds unused = 1.5;
  };
  add("scheduler/cosine",
      OptionTableBuilder<Cosine>().opt("warmup", &Cosine::warmup).opt("unused", &Cosine::unused).build());
  struct Chain {
    Child<Scheduler> inner;
    Count restart = 10;
  };
  add("scheduler/chain",
      OptionTableBuilder<Chain>().plugin("inner", &Chain::inner).opt("restart", &Chain::restart).build());
  struct Unwritten {
    int unused = 0;
  };
  OptionSpec unwritten;
  unwritten.name = "rate";
  unwritten.type = OptionType::real;
  unwritten.render = [](const void*) -> std::string { throw std::runtime_error("render threw"); };
  add("scheduler/unwritten", OptionTableBuilder<Unwritten>().custom(std::move(unwritten)).build());
  add("monitor/console", OptionTable{});
  struct Listen {
    std::string listen = "127.0.0.1:8000";
  };
  add("monitor/prometheus", OptionTableBuilder<Listen>().opt("listen", &Listen::listen).build());
  struct Keep {
    Count every = 1000;
    int keep = 5;
  };
  add("checkpoint/keep-last",
      OptionTableBuilder<Keep>().opt("every", &Keep::every).at_least(1).opt("keep", &Keep::keep).build());
}

std::vector<std::string> FakeCatalog::ids(std::string_view kind) const {
  std::vector<std::string> ids;
  for (const auto& [id, descriptor] : descriptors_)
    if (kind.empty() || descriptor.kind == kind) ids.push_back(id);
  return ids;
}

Result<const PluginDescriptor*> FakeCatalog::find(std::string_view id) {
  if (id == "optimizer/old") return unsupported("plugin optimizer/old is quarantined: too old", {}, "/plugins/old.so");
  const auto found = descriptors_.find(std::string(id));
  if (found != descriptors_.end()) return &found->second;
  const std::string nearest = nearest_name(id, ids({}));
  return invalid("there is no plugin '" + std::string(id) + "'",
                 nearest.empty() ? "see conclave plugins" : "did you mean " + nearest + "?");
}

std::string FakeCatalog::remark(std::string_view id) const {
  return id == "optimizer/sgd" ? "passes over /plugins/old.so" : "";
}

void FakeCatalog::add(const std::string& id, OptionTable table) {
  PluginDescriptor descriptor;
  descriptor.info.id = id;
  descriptor.info.summary = "A fake.";
  descriptor.kind = id.substr(0, id.find('/'));
  descriptor.options = std::move(table);
  descriptor.library = "/plugins/" + descriptor.kind + "-" + id.substr(id.find('/') + 1) + ".so";
  descriptors_.emplace(id, std::move(descriptor));
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "conclave-config-XXXXXX").string();
  path_ = ::mkdtemp(name.data());
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string Folder::write(const std::string& name, const std::string& text) const {
  const std::filesystem::path file = path_ / name;
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
  return file.string();
}

std::string without_folder(std::string text, const Folder& folder) {
  const std::string prefix = folder.path().string() + "/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at))
    text.erase(at, prefix.size());
  return text;
}

std::string minimal(const std::string& extra) {
  return "conclave: 1\n"
         "data:\n"
         "  domains: {web: {source: {use: source/jsonl, with: {paths: a.jsonl}}}}\n"
         "  tokenizer: {use: tokenizer/bytes}\n"
         "model: {use: model/moe}\n"
         "optimizer: {use: optimizer/adamw}\n"
         "scheduler: {use: scheduler/cosine}\n"
         "train: {steps: 100, batch: 8}\n" +
         extra;
}

} // namespace conclave::testing
