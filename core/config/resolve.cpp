// Resolved values: a tree of rendered leaves beside what was written, then text, settings and hash from it.

#include "config/resolve.hpp"

#include <string_view>

#include "config/block_diagnostic.hpp"
#include "config/compose.hpp"
#include "config/keys.hpp"
#include "config/sections.hpp"
#include "config/substitute.hpp"
#include "config/yaml_reader.hpp"
#include "plugin/guard.hpp"
#include "plugin/sha256.hpp"

namespace conclave {
namespace {

// One key of the resolved experiment.
struct Node {
  enum class Form { leaf, map, list };
  std::string key;
  Form form = Form::leaf;
  std::string text;   // of a leaf: a YAML flow value
  std::string origin; // of a leaf
  Site site;          // of a leaf
  Affects affects = Affects::numerics;
  std::vector<Node> children;
};

std::string origin_of(const Value* written) {
  const std::string where = written != nullptr ? written->where().render() : std::string{};
  return where.empty() ? "default" : where;
}

// A value back to flow YAML, for the parts of a rendered group.
std::string flow_text(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null: return "null";
    case Value::Kind::scalar: return value.quoted() ? detail::render_text(value.text()) : value.text();
    case Value::Kind::list: {
      std::string text = "[";
      for (const Value& item : value.items()) text += (text.size() > 1 ? ", " : "") + flow_text(item);
      return text + "]";
    }
    case Value::Kind::map: break;
  }
  std::string text = "{";
  for (const Value::Member& member : value.members())
    text += (text.size() > 1 ? ", " : "") + detail::render_text(member.key) + ": " + flow_text(member.value);
  return text + "}";
}

Node leaf(std::string key, std::string text, const Value* written, Affects affects) {
  Node node;
  node.key = std::move(key);
  node.text = escape_variables(text);
  node.origin = origin_of(written);
  if (written != nullptr) node.site = site_of(written->where());
  node.affects = affects;
  return node;
}

Node block_node(const std::string& key, const PluginBlock& block, const Value* written, bool always_named,
                Diagnostics& diagnostics);

// Kinds whose options cannot change the numbers that a run computes, whatever their tables say.
bool only_observes(const std::string& kind) { return kind == "monitor" || kind == "checkpoint"; }
Affects cap(Affects affects, bool observer) {
  return observer && (affects == Affects::numerics || affects == Affects::selection) ? Affects::io : affects;
}

// What an option table bound, as nodes. `children` are the plugin blocks found under it, by their full key.
class TableNodes {
 public:
  TableNodes(const std::vector<PluginBlock::BoundChild>* children, bool observer, Diagnostics& diagnostics)
      : children_(children), observer_(observer), diagnostics_(diagnostics) {}

  std::vector<Node> nodes(const OptionTable& table, const void* options, const std::string& prefix,
                          const Value* written) const {
    std::vector<Node> nodes;
    for (const OptionSpec& spec : table.specs())
      add(spec, spec.render(options), join_key(prefix, spec.name), written_member(spec, written), nodes);
    return nodes;
  }

 private:
  static const Value* written_member(const OptionSpec& spec, const Value* written) {
    if (written == nullptr) return nullptr;
    if (const Value* found = written->find(spec.name)) return found;
    for (const std::string& alias : spec.deprecated_aliases)
      if (const Value* found = written->find(alias)) return found;
    return nullptr;
  }

  void add(const OptionSpec& spec, const std::string& text, const std::string& full_key, const Value* written,
           std::vector<Node>& nodes) const {
    if (spec.type == OptionType::plugin) {
      if (children_ == nullptr) return;
      for (const PluginBlock::BoundChild& child : *children_)
        if (child.request.key == full_key)
          nodes.push_back(block_node(spec.name, child.block, written, false, diagnostics_));
      return;
    }
    if (spec.type != OptionType::group && spec.type != OptionType::map) {
      // Empty text: a custom option that others write (domains, filters) or that composition consumed (extends, vars).
      if (!text.empty()) nodes.push_back(leaf(spec.name, text, written, cap(spec.affects, observer_)));
      return;
    }
    Diagnostics ignored; // the text is our own rendering
    const std::optional<Value> rendered = text.empty() ? std::nullopt : parse_yaml(text, "rendered", ignored);
    if (!rendered || !rendered->is_map()) {
      if (!text.empty()) nodes.push_back(leaf(spec.name, text, written, cap(spec.affects, observer_)));
      return;
    }
    Node group;
    group.key = spec.name;
    group.form = Node::Form::map;
    for (const Value::Member& member : rendered->members()) {
      const OptionSpec* field = nullptr;
      for (const OptionSpec& candidate : spec.fields)
        if (candidate.name == member.key) field = &candidate;
      const Value* part = field != nullptr     ? written_member(*field, written)
                          : written != nullptr ? written->find(member.key)
                                               : nullptr;
      if (field == nullptr) // an element of a map of scalars or lists
        group.children.push_back(leaf(member.key, flow_text(member.value), part, cap(spec.affects, observer_)));
      else if (!(member.value.is_null() && field->type != OptionType::plugin && !field->optional))
        add(*field, field->type == OptionType::plugin ? "" : flow_text(member.value), join_key(full_key, member.key),
            part, group.children);
    }
    if (group.children.empty() && spec.type == OptionType::map)
      nodes.push_back(leaf(spec.name, "{}", written, cap(spec.affects, observer_)));
    else if (!group.children.empty())
      nodes.push_back(std::move(group));
  }

  const std::vector<PluginBlock::BoundChild>* children_;
  bool observer_;
  Diagnostics& diagnostics_;
};

Node block_node(const std::string& key, const PluginBlock& block, const Value* written, bool always_named,
                Diagnostics& diagnostics) {
  const bool observer = only_observes(block.descriptor->kind);
  const auto part = [written](const char* name) { return written != nullptr ? written->find(name) : nullptr; };
  Node node;
  node.key = key;
  node.form = Node::Form::map;
  node.children.push_back(leaf("use", detail::render_text(block.id), part("use"), cap(Affects::numerics, observer)));
  if (always_named || block.name != block.id.substr(block.id.find('/') + 1)) // the name keys its random streams
    node.children.push_back(
        leaf("name", detail::render_text(block.name), part("name"), cap(Affects::numerics, observer)));
  Node with;
  with.key = "with";
  with.form = Node::Form::map;
  const Status status = guard(block.descriptor->info.id.c_str(), "render_options", [&] {
    with.children =
        TableNodes(&block.children, observer, diagnostics)
            .nodes(block.descriptor->options, block.options.get(), join_key(block.key, "with"), part("with"));
  });
  if (!status.ok()) diagnostics.add(diagnostic_of(status.error(), block, join_key(block.key, "with")));
  if (!with.children.empty()) node.children.push_back(std::move(with));
  return node;
}

Node list_node(const std::string& key, const std::vector<PluginBlock>& blocks, const Value* written,
               Diagnostics& diagnostics) {
  Node node;
  node.key = key;
  node.form = Node::Form::list;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    node.children.push_back(block_node(
        blocks[i].name, blocks[i], written != nullptr && i < written->items().size() ? &written->items()[i] : nullptr,
        true, diagnostics));
  return node;
}

Node domains_node(const std::vector<DomainSection>& domains, const Value* written, Diagnostics& diagnostics) {
  const OptionTable& table = domain_table();
  Node node;
  node.key = "domains";
  node.form = Node::Form::map;
  for (const DomainSection& domain : domains) {
    const Value* part = written != nullptr ? written->find(domain.name) : nullptr;
    Node child;
    child.key = domain.name;
    child.form = Node::Form::map;
    child.children = TableNodes(nullptr, false, diagnostics).nodes(table, &domain, {}, part);
    child.children.push_back(
        block_node("source", domain.source, part != nullptr ? part->find("source") : nullptr, false, diagnostics));
    node.children.push_back(std::move(child));
  }
  return node;
}

std::vector<Node> experiment_nodes(const Experiment& experiment, Diagnostics& diagnostics) {
  const Value& tree = experiment.tree;
  const Value* data = tree.find("data");
  const auto in_data = [data](const char* key) { return data != nullptr ? data->find(key) : nullptr; };
  std::vector<Node> nodes = TableNodes(nullptr, false, diagnostics).nodes(experiment_table(), &experiment, {}, &tree);
  for (Node& node : nodes) {
    if (node.key != "data") continue;
    std::vector<Node> blocks;
    blocks.push_back(domains_node(experiment.data.domains, in_data("domains"), diagnostics));
    blocks.push_back(list_node("filters", experiment.data.filters, in_data("filters"), diagnostics));
    blocks.push_back(block_node("tokenizer", experiment.data.tokenizer, in_data("tokenizer"), false, diagnostics));
    node.children.insert(node.children.begin(), std::make_move_iterator(blocks.begin()),
                         std::make_move_iterator(blocks.end()));
  }
  const auto add_block = [&](const char* key, const PluginBlock& block) {
    if (block) nodes.push_back(block_node(key, block, tree.find(key), false, diagnostics));
  };
  add_block("model", experiment.model);
  add_block("optimizer", experiment.optimizer);
  add_block("scheduler", experiment.scheduler);
  nodes.push_back(list_node("monitors", experiment.monitors, tree.find("monitors"), diagnostics));
  add_block("checkpoint", experiment.checkpoint);
  return nodes;
}

// A leaf that was written with variables: the place of each stands before its own.
void name_variables(Node& node, const Substituted& substituted) {
  if (node.form == Node::Form::leaf)
    if (const auto variables = substituted.variables.find(node.site); variables != substituted.variables.end())
      node.origin = variables->second + "; " + node.origin;
  for (Node& child : node.children) name_variables(child, substituted);
}

void flatten(const Node& node, const std::string& prefix, std::map<std::string, Experiment::Setting>& settings) {
  const std::string key = join_key(prefix, node.key);
  if (node.form == Node::Form::leaf) {
    settings[key] = {node.text, node.origin, node.affects};
    return;
  }
  for (const Node& child : node.children) flatten(child, key, settings);
}

// The order of filters and domains counts, which keys by name do not show.
void add_order(const std::string& key, const Node& node, std::map<std::string, Experiment::Setting>& settings) {
  std::string names = "[";
  for (const Node& child : node.children) names += (names.size() > 1 ? ", " : "") + child.key;
  settings[key] = {names + "]", "order", key == "monitors" ? Affects::io : Affects::numerics};
}

void write_yaml(const Node& node, std::size_t indent, std::string& out, bool item = false) {
  const std::string margin(indent, ' ');
  const auto children = [&](std::size_t inner) {
    for (const Node& child : node.children) write_yaml(child, inner, out, node.form == Node::Form::list);
  };
  if (item) { // a map inside a list: its first key stands behind the dash
    std::string text;
    for (const Node& child : node.children) write_yaml(child, indent + 2, text);
    text[indent] = '-';
    out += text;
    return;
  }
  out += margin + detail::render_text(node.key) + ":";
  switch (node.form) {
    case Node::Form::leaf: out += " " + node.text + "  # " + node.origin + "\n"; return;
    case Node::Form::list:
      out += node.children.empty() ? " []\n" : "\n";
      children(indent + 2);
      return;
    case Node::Form::map:
      out += node.children.empty() ? " {}\n" : "\n";
      children(indent + 2);
      return;
  }
}

std::string hash_of(const std::map<std::string, Experiment::Setting>& settings, bool with_seed) {
  std::string canonical;
  for (const auto& [key, setting] : settings)
    if (setting.affects != Affects::naming && (with_seed || key != "seed"))
      canonical += key + "=" + setting.value + "\n";
  return sha256_text(canonical);
}

} // namespace

bool resolve(Experiment& experiment, Diagnostics& diagnostics) {
  const std::size_t errors_before = diagnostics.error_count();
  std::vector<Node> nodes = experiment_nodes(experiment, diagnostics);
  if (diagnostics.error_count() != errors_before) return false;
  experiment.settings.clear();
  for (Node& node : nodes) {
    name_variables(node, experiment.substituted);
    flatten(node, {}, experiment.settings);
    if (node.key == "monitors") add_order("monitors", node, experiment.settings);
    if (node.key != "data") continue;
    for (const Node& child : node.children)
      if (child.key == "domains" || child.key == "filters") add_order("data." + child.key, child, experiment.settings);
  }
  experiment.hash = hash_of(experiment.settings, true);
  experiment.hash_without_seed = hash_of(experiment.settings, false);
  std::string& text = experiment.resolved_yaml;
  text = "# Every value of the experiment and where it was written. This file runs as it is.\n# Hash of the values: " +
         experiment.hash + "\n";
  for (const Node& node : nodes) write_yaml(node, 0, text);
  return true;
}

} // namespace conclave
