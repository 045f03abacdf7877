// load_experiment(): from the composed tree to an Experiment whose every block is bound to its plugin's option table.

#include <filesystem>
#include <set>

#include "config/block_diagnostic.hpp"
#include "config/compose.hpp"
#include "config/cross_checks.hpp"
#include "config/experiment.hpp"
#include "config/keys.hpp"
#include "config/resolve.hpp"
#include "config/sections.hpp"
#include "plugin/guard.hpp"

namespace conclave {
namespace {

class Binder {
 public:
  // `whole`: every layer of the tree could be read.
  Binder(PluginCatalog& catalog, bool whole, Diagnostics& diagnostics) : catalog_(catalog), diagnostics_(diagnostics) {
    context_.incomplete = !whole;
    std::error_code error;
    // Values of `--set` come from the shell, so their relative paths start where the shell stands.
    context_.base_directory = std::filesystem::current_path(error).string();
  }

  void bind(const Value& tree, Experiment& experiment) {
    std::vector<ChildRequest> none;
    experiment_table().bind(tree, {}, context_, &experiment, diagnostics_, none);
    if (const Value* data = tree.find("data"); data != nullptr && data->is_map()) {
      bind_domains(data->find("domains"), experiment.data);
      bind_list(data->find("filters"), "filter", "data.filters", experiment.data.filters);
      bind_block(data->find("tokenizer"), "tokenizer", "data.tokenizer", experiment.data.tokenizer);
    }
    bind_block(tree.find("model"), "model", "model", experiment.model);
    bind_block(tree.find("optimizer"), "optimizer", "optimizer", experiment.optimizer);
    bind_block(tree.find("scheduler"), "scheduler", "scheduler", experiment.scheduler);
    bind_block(tree.find("checkpoint"), "checkpoint", "checkpoint", experiment.checkpoint);
    bind_list(tree.find("monitors"), "monitor", "monitors", experiment.monitors);
  }

 private:
  void bind_domains(const Value* domains, DataSection& data) {
    if (domains == nullptr || domains->is_null()) return; // missing or empty: the table said so
    if (!detail::expect_map(*domains, "data.domains", diagnostics_)) return;
    if (domains->members().empty())
      diagnostics_.error(domains->where(), "data.domains", "there is no domain",
                         "add one: name: {share: 1, source: {use: source/...}}");
    const OptionTable& table = domain_table();
    for (const Value::Member& member : domains->members()) {
      const std::string key = join_key("data.domains", member.key);
      if (detail::is_idle_deletion(member.value)) {
        diagnostics_.error(member.key_where, key, "there is no domain of this name to delete", "remove the line");
        continue;
      }
      DomainSection domain;
      domain.name = member.key;
      if (!is_plain_name(member.key))
        diagnostics_.error(member.key_where, key, "is not a name of a domain", "use letters, digits, - and _");
      // An empty domain is all defaults to the table, which then misses its source.
      const Value block = member.value.is_null() ? Value::map({}, member.value.where()) : member.value;
      std::vector<ChildRequest> none;
      table.bind(block, key, context_, &domain, diagnostics_, none);
      bind_block(block.find("source"), "source", join_key(key, "source"), domain.source);
      data.domains.push_back(std::move(domain));
    }
  }

  void bind_list(const Value* list, const char* kind, const std::string& key, std::vector<PluginBlock>& blocks) {
    if (list == nullptr || list->is_null()) return;
    if (context_.incomplete && list->is_map()) return; // it may reach into a list that could not be read
    if (!detail::expect_list(*list, key, diagnostics_)) return;
    std::set<std::string> names;
    for (std::size_t i = 0; i < list->items().size(); ++i) {
      const Value& item = list->items()[i];
      const std::string name = item_name(item);
      const std::string item_key = is_plain_name(name) ? join_key(key, name) : key + "[" + std::to_string(i) + "]";
      if (!name.empty() && !names.insert(name).second)
        diagnostics_.error(item.where(), item_key, "a second " + std::string(kind) + " of this name",
                           "give it a name: of its own");
      PluginBlock block;
      bind_block(&item, kind, item_key, block, detail::BlockName::allowed);
      blocks.push_back(std::move(block));
    }
  }

  // A missing block leaves `block` as it is; that it is required is the table's to say.
  void bind_block(const Value* value, const std::string& kind, const std::string& key, PluginBlock& block,
                  detail::BlockName named = detail::BlockName::refused) {
    const bool item = named == detail::BlockName::allowed;
    if (value == nullptr || (value->is_null() && !item)) return;
    ChildRequest request;
    const bool good = detail::parse_child(*value, key, kind, named, context_, diagnostics_, request);
    if (const Value* name = value->find("name");
        item && name != nullptr && (!name->is_scalar() || !is_plain_name(name->text())))
      diagnostics_.error(name->where(), join_key(key, "name"), "cannot name a plugin block",
                         "use letters, digits, - and _, not only digits");
    // After an unknown key beside it, `with` is still worth binding: all errors at once.
    if (!good && request.id.empty()) return;
    if (item) block.name = item_name(*value);
    bind_request(request, block);
  }

  void bind_request(const ChildRequest& request, PluginBlock& block) {
    block.id = request.id;
    block.key = request.key;
    block.where = request.use.where();
    if (block.name.empty()) block.name = request.id.substr(request.id.find('/') + 1);
    const auto found = catalog_.find(request.id);
    if (!found.ok()) {
      diagnostics_.add(diagnostic_of(found.error(), block, join_key(request.key, "use")));
      return;
    }
    if (const std::string remark = catalog_.remark(request.id); !remark.empty())
      diagnostics_.warning(block.where, join_key(request.key, "use"), remark);
    block.descriptor = *found;
    std::vector<ChildRequest> children;
    // validate() and default values are the plugin's code.
    const Status status = guard(block.descriptor->info.id.c_str(), "bind_options", [&] {
      block.options = block.descriptor->options.make();
      block.descriptor->options.bind(request.with, join_key(request.key, "with"), context_, block.options.get(),
                                     diagnostics_, children);
    });
    if (!status.ok()) diagnostics_.add(diagnostic_of(status.error(), block, join_key(request.key, "with")));
    for (ChildRequest& child : children) {
      PluginBlock bound;
      bind_request(child, bound);
      block.children.push_back({std::move(child), std::move(bound)});
    }
  }

  PluginCatalog& catalog_;
  Diagnostics& diagnostics_;
  BindContext context_;
};

} // namespace

std::optional<Experiment> load_experiment(const std::string& path, const LoadOptions& options, PluginCatalog& catalog,
                                          Diagnostics& diagnostics) {
  const std::size_t errors_before = diagnostics.error_count();
  auto composition = compose(path, options.overrides, data_keys(), diagnostics, options.member);
  if (!composition) return std::nullopt;

  Experiment experiment;
  experiment.tree = composition->tree;
  experiment.files = std::move(composition->files);
  experiment.history = std::move(composition->history);
  experiment.sweep = std::move(composition->sweep);
  experiment.member = options.member;
  experiment.substituted = std::move(composition->substituted);
  Diagnostics found;
  Binder(catalog, composition->whole, found).bind(experiment.tree, experiment);
  if (experiment.name.empty()) experiment.name = std::filesystem::path(path).stem().string();
  if (composition->whole && !found.has_errors()) check_across_sections(experiment, experiment.tree, found);
  for (Diagnostic diagnostic : found.all()) {
    const Site site = site_of(diagnostic.where);
    if (experiment.substituted.unresolved.contains(site)) continue;
    if (const auto variables = experiment.substituted.variables.find(site);
        variables != experiment.substituted.variables.end())
      diagnostic.what += " (" + variables->second + ")";
    diagnostics.add(std::move(diagnostic));
  }
  if (diagnostics.error_count() != errors_before) return std::nullopt;
  if (!resolve(experiment, diagnostics)) return std::nullopt;
  return experiment;
}

} // namespace conclave
