// conclave data: what prepared data holds. show and verify are here, what reads the store is in data_views.cpp.

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/data_views.hpp"
#include "cli/verbs.hpp"
#include "data/megatron_export.hpp"
#include "data/stage.hpp"
#include "run/data_session.hpp"

namespace conclave {
namespace {

using nlohmann::ordered_json;

struct DataArguments {
  std::string file, batches, megatron;
  std::vector<std::string> overrides;
  bool json = false;
  SampleRequest sample;
};

int print(const Result<ordered_json>& view, bool json, std::string (*text)(const ordered_json&)) {
  if (!view.ok()) return report(view.error());
  const std::string out = json ? view->dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n" : text(*view);
  std::fputs(out.c_str(), stdout);
  return 0;
}

/// Every folder that the stages left, with the bytes of its files. In a session of its own, whose tokenizer is as it was made.
Result<ordered_json> folders(const Experiment& experiment) {
  CONCLAVE_ASSIGN(const auto session, DataSession::open(experiment, /*quiet=*/true));
  CONCLAVE_ASSIGN(const auto stages, data::prepare_status(session->request()));
  ordered_json list = ordered_json::array();
  for (const data::StageStatus& stage : stages) {
    if (!stage.complete) continue;
    CONCLAVE_ASSIGN(const auto manifest, data::read_stage_manifest(stage.folder));
    std::uint64_t bytes = 0;
    for (const data::FileEntry& file : manifest.files) bytes += file.bytes;
    list.push_back({{"stage", stage.stage},
                    {"of", stage.subject},
                    {"folder", stage.folder.string()},
                    {"files", manifest.files.size()},
                    {"bytes", bytes}});
  }
  return list;
}

/// Checks every file of every folder against its digest.
Result<ordered_json> verify(const Experiment& experiment) {
  CONCLAVE_ASSIGN(ordered_json list, folders(experiment));
  for (ordered_json& folder : list) {
    const Status status = data::verify_stage(folder.at("folder").get<std::string>());
    folder["error"] = status.ok() ? ordered_json(nullptr) : ordered_json(status.error().render());
  }
  return list;
}

int print_verified(const Result<ordered_json>& list, bool json) {
  const auto text = [](const ordered_json& folders) {
    std::string lines;
    for (const auto& folder : folders) {
      const bool good = folder.at("error").is_null();
      lines += (good ? "ok      " : "DAMAGED ") + folder.at("folder").get<std::string>();
      if (!good) lines += "\n        " + folder.at("error").get<std::string>();
      lines += "\n";
    }
    return lines;
  };
  if (const int code = print(list, json, text); code != 0) return code;
  for (const auto& folder : *list)
    if (!folder.at("error").is_null()) return exit_code(Code::storage);
  return 0;
}

std::optional<Experiment> load(const DataArguments& arguments, CliContext& context) {
  Diagnostics diagnostics;
  auto experiment = load_experiment(arguments.file, {arguments.overrides}, context.registry(), diagnostics);
  if (!diagnostics.has_errors() && experiment) return experiment;
  context.exit_code = report(diagnostics);
  return std::nullopt;
}

/// Calls `view` with the experiment's prepared data, and returns the exit code.
template <class View>
int with_data(const Experiment& experiment, View view) {
  const auto session = DataSession::open(experiment, /*quiet=*/false);
  if (!session.ok()) return report(session.error());
  const auto prepared = open_prepared(experiment, **session);
  return prepared.ok() ? view(**session, *prepared) : report(prepared.error());
}

int show(const Experiment& experiment, bool json) {
  ordered_json view;
  const int found = with_data(experiment, [&view](const DataSession&, const PreparedData& prepared) {
    view = show_corpus(prepared);
    return 0;
  });
  if (found != 0) return found;
  auto list = folders(experiment);
  if (!list.ok()) return report(list.error());
  view["folders"] = std::move(*list);
  return print(view, json, show_text);
}

void add_experiment(CLI::App& verb, const std::shared_ptr<DataArguments>& arguments) {
  verb.add_option("file", arguments->file, "The experiment's YAML")->required();
  verb.add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
}

CLI::App* add_view(CLI::App& verb, const char* name, const char* what,
                   const std::shared_ptr<DataArguments>& arguments) {
  CLI::App* view = verb.add_subcommand(name, what);
  add_experiment(*view, arguments);
  view->add_flag("--json", arguments->json, "Print JSON");
  return view;
}

} // namespace

void add_data_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<DataArguments>();
  CLI::App* verb = app.add_subcommand("data", "Look into prepared data");
  verb->require_subcommand(1);

  CLI::App* shown =
      add_view(*verb, "show", "What is there: domains, tokens, tokenizer, digests, cache folders", arguments);
  shown->callback([arguments, &context] {
    if (const auto experiment = load(*arguments, context)) context.exit_code = show(*experiment, arguments->json);
  });

  CLI::App* sampled = add_view(*verb, "sample", "Texts as the model gets them, with where they came from", arguments);
  CLI::Option* batch = sampled->add_option("--batch", arguments->sample.batch, "The sequences of this training batch")
                           ->check(CLI::NonNegativeNumber);
  sampled->add_option("--count", arguments->sample.count, "How many; of each domain, or of the batch")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sampled->add_option("--domain", arguments->sample.domain, "Only this domain");
  sampled->add_flag("--held-out", arguments->sample.held_out, "Held-out documents")->excludes(batch);
  sampled->callback([arguments, &context] {
    if (const auto experiment = load(*arguments, context))
      context.exit_code = with_data(*experiment, [&](const DataSession& session, const PreparedData& prepared) {
        return print(sample_corpus(session, prepared, arguments->sample), arguments->json, sample_text);
      });
  });

  CLI::App* counted =
      add_view(*verb, "stats", "Lengths, entropy, and what shares a range of batches really has", arguments);
  counted->add_option("--batches", arguments->batches, "Count these training batches: first:end, without the end");
  counted->callback([arguments, &context] {
    if (const auto experiment = load(*arguments, context))
      context.exit_code = with_data(*experiment, [&](const DataSession& session, const PreparedData& prepared) {
        return print(count_corpus(session, prepared, arguments->batches), arguments->json, stats_text);
      });
  });

  CLI::App* exported = verb->add_subcommand("export", "Write the token ids for other tools");
  add_experiment(*exported, arguments);
  exported->add_option("--megatron", arguments->megatron, "As Megatron's .bin and .idx, into this folder")->required();
  exported->callback([arguments, &context] {
    if (const auto experiment = load(*arguments, context))
      context.exit_code = with_data(*experiment, [&](const DataSession& session, const PreparedData& prepared) {
        const Status written = data::export_megatron(*prepared.store, arguments->megatron, session.request().stop);
        return written.ok() ? 0 : report(written.error());
      });
  });

  CLI::App* verified = add_view(*verb, "verify", "Check every file of the cache that the data uses", arguments);
  verified->callback([arguments, &context] {
    if (const auto experiment = load(*arguments, context))
      context.exit_code = print_verified(verify(*experiment), arguments->json);
  });
}

} // namespace conclave
