// Options as people read them: what `plugins show` and `config options` print, and what the reference pages hold.
//
// Both forms come from the description that a probe gives (plugin/descriptor_json.hpp), so a quarantined plugin's options
// can be shown, too. Threading: pure, but for stdout.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace conclave {

/// Adds to each option, and to its fields, the texts `type_text` (`list of number`, `scheduler plugin`) and
/// `limits_text` (`[0, 1]`, `> 0`, `one of a, b`, `2 values`; "" without any).
void add_option_texts(nlohmann::ordered_json& options);

/// Prints options that add_option_texts() has seen, one a paragraph, fields below their group.
void print_options(const nlohmann::ordered_json& options, const std::string& indent);

/// JSON as every verb prints it. Text that is no UTF-8 is replaced.
void print_json(const nlohmann::ordered_json& json);

} // namespace conclave
