// Composition: several YAML layers become one tree, with the history of every value.
//
// The rules, in the order they are applied:
// 1. Layers: the files of `extends` (first to last, each after what it extends itself; a file met twice counts once), the
//    experiment, then each `--set`, then what a member of the `sweep:` block sets, when one is asked for (sweep.hpp). A later
//    layer goes over the earlier ones.
// 2. Maps merge. `null` deletes what earlier layers said (and stays, without a location, where they said nothing: whether
//    the key exists is for binding to say). Everything else replaces; lists as a whole, except that
//    `!append [..]` and `!prepend [..]` extend them, and that a map over a list reaches its items by `name:` (or the part
//    of `use:` after the slash) or by number: `--set data.filters.simhash.with.distance=4`.
// 3. When a layer changes `use`, the `with` of the earlier layers is dropped: options of another plugin mean nothing.
// 4. `${name}` becomes the value of `vars: {name: ...}`, `${env:NAME}` that of the environment; a scalar that is nothing
//    but `${name}` takes the variable's kind, too. `$${` stands for `${`.
//
// What this is not: the YAML reader, or a check of keys and types (bind.cpp).
//
// Threading: reentrant.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "conclave/value.hpp"
#include "config/substitute.hpp"
#include "config/sweep.hpp"

namespace conclave {

/// A value that a later layer replaced, deleted or dropped.
struct Overridden {
  Value value;
  std::string why; ///< "replaced", "deleted", "dropped, since `use` changed"
  Location by;     ///< what did it
};
/// Dotted key -> what earlier layers said, oldest first.
using OverrideHistory = std::map<std::string, std::vector<Overridden>>;

struct Composition {
  Value tree;                     ///< without `extends`, `vars` and `sweep`
  Substituted substituted;        ///< what became of `vars`
  std::vector<std::string> files; ///< every file that took part, absolute, the experiment first
  OverrideHistory history;
  std::vector<SweepMember> sweep; ///< the members of `sweep:`; none without the block, or when it is wrong
  bool whole =
      true; ///< false: a file of `extends` could not be read (an error says so) and the tree lacks what it says
};

/// `overrides` are `a.b.c=value`; value is YAML when it starts with [ { " ' or one of the two tags, else text, and
/// empty, ~ or null delete.
/// A first segment of `data_keys` may leave out `data.`. `member` names one of the sweep, "" the experiment itself. Nothing
/// when the experiment's own file cannot be read.
std::optional<Composition> compose(const std::string& path, const std::vector<std::string>& overrides,
                                   const std::vector<std::string>& data_keys, Diagnostics& diagnostics,
                                   const std::string& member = {});

/// How a list's item is addressed: its `name:`, else the part of `use:` after the slash, else "".
std::string item_name(const Value& item);

/// One layer over another; exposed for tests. `key` is the dotted path of both, "" for the root.
Value merge(const Value& earlier, const Value& later, const std::string& key, OverrideHistory& history,
            Diagnostics& diagnostics);

} // namespace conclave
