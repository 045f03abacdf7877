// Reading of tokenizer.json: see tokenizer_json.hpp.

#include "tokenizer_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "byte_alphabet.hpp"

namespace conclave::hf_bpe {
namespace {

using Node = nlohmann::json;

Error bad(const std::string& place, const std::string& what) {
  return invalid("tokenizer.json: " + place + " " + what,
                 "give a tokenizer.json of a byte-level BPE as Hugging Face's tokenizers write it");
}

/// Of JSON that is right, but which we do not do.
Error cannot(const std::string& place, const std::string& what) {
  return unsupported("tokenizer.json: " + place + " is " + what + ", which would give other ids here",
                     "use a tokenizer of the families that the plugin's README lists");
}

std::string in_quotes(const std::string& text) { return "'" + text.substr(0, 200) + "'"; }

/// A member of an object, or null JSON where there is none.
const Node& member(const Node& object, const char* name) {
  static const Node none;
  const auto found = object.find(name);
  return found == object.end() ? none : *found;
}

std::string type_of(const Node& object) {
  const Node& type = member(object, "type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

/// A flag that may be left out.
Result<bool> flag(const Node& object, const char* name, bool missing, const std::string& place) {
  const Node& value = member(object, name);
  if (value.is_null()) return missing;
  if (!value.is_boolean()) return bad(place + "." + name, "is no boolean");
  return value.get<bool>();
}

Result<std::int32_t> token_id(const Node& value, const std::string& place) {
  if (!value.is_number_integer() || value < 0 || value >= most_ids)
    return bad(place, "is no id of 0 to " + std::to_string(most_ids - 1));
  return value.get<std::int32_t>();
}

// ---- model ----

Status read_vocabulary(const Node& vocabulary, TokenizerFile& file) {
  if (!vocabulary.is_object() || vocabulary.empty()) return bad("model.vocab", "is no object of tokens and ids");
  std::vector<bool> taken;
  for (const auto& [token, value] : vocabulary.items()) {
    CONCLAVE_ASSIGN(const std::int32_t id, token_id(value, "model.vocab[" + in_quotes(token) + "]"));
    if (static_cast<std::size_t>(id) >= taken.size()) taken.resize(static_cast<std::size_t>(id) + 1);
    if (taken[static_cast<std::size_t>(id)]) return bad("model.vocab", "gives the id " + std::to_string(id) + " twice");
    taken[static_cast<std::size_t>(id)] = true;
    file.vocabulary.emplace(token, id);
  }
  file.size = static_cast<std::int32_t>(taken.size());
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const auto found = file.vocabulary.find(to_visible({&text, 1}));
    if (found == file.vocabulary.end())
      return bad("model.vocab", "has no token for the byte " + std::to_string(byte) + ", so it is not byte-level");
    file.bytes[static_cast<std::size_t>(byte)] = found->second;
  }
  return {};
}

/// `["a", "b"]`, or `"a b"` as older files write it.
Result<std::pair<std::string, std::string>> merge_parts(const Node& merge, const std::string& place) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  return bad(place, "is no pair of tokens");
}

Status read_merges(const Node& merges, TokenizerFile& file) {
  if (!merges.is_array()) return bad("model.merges", "is no list");
  file.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string place = "model.merges[" + std::to_string(i) + "]";
    CONCLAVE_ASSIGN(const auto parts, merge_parts(merges[i], place));
    Merge merge{};
    for (const auto& [token, id] : {std::pair(parts.first, &merge.left), std::pair(parts.second, &merge.right),
                                    std::pair(parts.first + parts.second, &merge.result)}) {
      const auto found = file.vocabulary.find(token);
      if (found == file.vocabulary.end())
        return bad(place, "names " + in_quotes(token) + ", which is not in model.vocab");
      *id = found->second;
    }
    file.merges.push_back(merge);
  }
  return {};
}

Status read_model(const Node& model, TokenizerFile& file) {
  if (!model.is_object()) return bad("model", "is missing");
  if (const std::string type = type_of(model); !type.empty() && type != "BPE")
    return cannot("model.type", in_quotes(type) + " and not BPE");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Node& affix = member(model, name);
    if (!affix.is_null() && affix != "") return cannot(std::string("model.") + name, affix.dump());
  }
  if (const Node& dropout = member(model, "dropout"); !dropout.is_null() && dropout != 0)
    return cannot("model.dropout", dropout.dump());
  CONCLAVE_ASSIGN(const bool byte_fallback, flag(model, "byte_fallback", false, "model"));
  if (byte_fallback) return cannot("model.byte_fallback", "true");
  CONCLAVE_ASSIGN(file.ignore_merges, flag(model, "ignore_merges", false, "model"));
  CONCLAVE_RETURN_IF_ERROR(read_vocabulary(member(model, "vocab"), file));
  return read_merges(member(model, "merges"), file);
}

// ---- what stands before it ----

Status read_normalizer(const Node& normalizer, const std::string& place, TokenizerFile& file) {
  if (normalizer.is_null()) return {};
  if (!normalizer.is_object()) return bad(place, "is no object");
  const std::string type = type_of(normalizer);
  if (type == "NFC") {
    file.nfc = true;
    return {};
  }
  const Node& parts = member(normalizer, "normalizers");
  if (type != "Sequence" || !parts.is_array()) return cannot(place, "the normaliser " + in_quotes(type));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string part = place + ".normalizers[" + std::to_string(i) + "]";
    if (type_of(parts[i]) == "Sequence") return cannot(part, "a sequence in a sequence");
    CONCLAVE_RETURN_IF_ERROR(read_normalizer(parts[i], part, file));
  }
  return {};
}

Status read_split(const Node& split, const std::string& place, TokenizerFile& file) {
  const Node& pattern = member(split, "pattern");
  const Node& regex = pattern.is_object() ? member(pattern, "Regex") : pattern;
  if (!regex.is_string()) return cannot(place + ".pattern", pattern.dump());
  const auto& text = regex.get_ref<const std::string&>();
  const KnownPattern* known = find_pattern(text);
  if (!known)
    return unsupported("tokenizer.json: " + place + " splits by a pattern that is not known here: " + text,
                       "use one of the families that the plugin's README lists; another pattern needs a matcher of its "
                       "own (splitter.cpp)");
  CONCLAVE_ASSIGN(const bool invert, flag(split, "invert", false, place));
  const Node& behavior = member(split, "behavior");
  // Removed and inverted: what is no match goes away, and with a pattern that matches everything nothing does.
  if (!(behavior == "Isolated" && !invert) && !(behavior == "Removed" && invert && known->covers))
    return cannot(place + ".behavior", behavior.dump() + (invert ? ", inverted" : ""));
  file.splitter.steps.push_back(known->step);
  return {};
}

Status read_pre_tokenizer(const Node& pre_tokenizer, TokenizerFile& file) {
  const std::string place = "pre_tokenizer";
  std::vector<std::pair<std::string, const Node*>> steps;
  if (type_of(pre_tokenizer) == "Sequence") {
    const Node& list = member(pre_tokenizer, "pretokenizers");
    if (!list.is_array()) return bad(place + ".pretokenizers", "is no list");
    for (std::size_t i = 0; i < list.size(); ++i)
      steps.emplace_back(place + ".pretokenizers[" + std::to_string(i) + "]", &list[i]);
  } else {
    steps.emplace_back(place, &pre_tokenizer);
  }
  bool byte_level = false;
  for (const auto& [at, step] : steps) {
    if (!step->is_object()) return bad(at, "is no object");
    const std::string type = type_of(*step);
    if (byte_level) return cannot(at, "a step behind ByteLevel");
    if (type == "Split") {
      CONCLAVE_RETURN_IF_ERROR(read_split(*step, at, file));
    } else if (type == "Digits") {
      CONCLAVE_ASSIGN(const bool individual, flag(*step, "individual_digits", false, at));
      file.splitter.steps.push_back(digits_step(individual));
    } else if (type == "ByteLevel") {
      byte_level = true;
      CONCLAVE_ASSIGN(file.prefix_space, flag(*step, "add_prefix_space", true, at));
      if (file.prefix_space && !file.splitter.steps.empty()) return cannot(at, "a space before every piece");
      CONCLAVE_ASSIGN(const bool use_regex, flag(*step, "use_regex", true, at));
      if (use_regex) file.splitter.steps.push_back(gpt2_step());
    } else {
      return cannot(at, "the pre-tokeniser " + in_quotes(type));
    }
  }
  return byte_level ? Status{} : Status{cannot(place, "without ByteLevel")};
}

Status check_decoder(const Node& decoder) {
  if (decoder.is_null() || type_of(decoder) == "ByteLevel") return {};
  return unsupported("tokenizer.json: decoder is " + in_quotes(type_of(decoder)) + " and not ByteLevel",
                     "use a tokenizer of the families that the plugin's README lists");
}

// ---- added tokens ----

/// Hugging Face's tokenizers numbers added tokens itself: one of the vocabulary keeps its id, others follow in their order.
/// The file's ids are a claim that a warning tells of there, and an error here.
Status read_added_tokens(const Node& list, TokenizerFile& file) {
  if (list.is_null()) return {};
  if (!list.is_array()) return bad("added_tokens", "is no list");
  auto next = static_cast<std::int32_t>(file.vocabulary.size());
  StringMap<std::size_t> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = "added_tokens[" + std::to_string(i) + "]";
    const Node& content = list[i].is_object() ? member(list[i], "content") : list[i];
    if (!list[i].is_object() || !content.is_string()) return bad(place, "is no token with content");
    AddedToken token;
    token.content = content.get<std::string>();
    if (token.content.empty()) return bad(place, "is empty");
    if (!seen.emplace(token.content, i).second) return bad(place, in_quotes(token.content) + " is there twice");
    CONCLAVE_ASSIGN(token.id, token_id(member(list[i], "id"), place + ".id"));
    CONCLAVE_ASSIGN(token.special, flag(list[i], "special", false, place));
    CONCLAVE_ASSIGN(token.normalized, flag(list[i], "normalized", !token.special, place));
    CONCLAVE_ASSIGN(token.lstrip, flag(list[i], "lstrip", false, place));
    CONCLAVE_ASSIGN(token.rstrip, flag(list[i], "rstrip", false, place));
    CONCLAVE_ASSIGN(const bool single_word, flag(list[i], "single_word", false, place));
    if (single_word) return cannot(place + ".single_word", "true");
    const auto known = file.vocabulary.find(token.content);
    const std::int32_t expected = known == file.vocabulary.end() ? next : known->second;
    if (token.id != expected)
      return bad(place, in_quotes(token.content) + " has the id " + std::to_string(token.id) +
                            ", but Hugging Face's tokenizers gives it " + std::to_string(expected));
    next = std::max(next, token.id + 1);
    file.size = std::max(file.size, token.id + 1);
    file.added.push_back(std::move(token));
  }
  return {};
}

Result<TokenizerFile> read(const Node& json) {
  if (!json.is_object()) return bad("the whole", "is no object");
  TokenizerFile file;
  CONCLAVE_RETURN_IF_ERROR(read_model(member(json, "model"), file));
  CONCLAVE_RETURN_IF_ERROR(read_normalizer(member(json, "normalizer"), "normalizer", file));
  CONCLAVE_RETURN_IF_ERROR(read_pre_tokenizer(member(json, "pre_tokenizer"), file));
  CONCLAVE_RETURN_IF_ERROR(check_decoder(member(json, "decoder")));
  CONCLAVE_RETURN_IF_ERROR(read_added_tokens(member(json, "added_tokens"), file));
  return file;
}

} // namespace

Result<TokenizerFile> read_tokenizer_json(std::string_view text) {
  if (text.size() > largest_file) return bad("the whole", "is larger than 256 MiB");
  try {
    return read(Node::parse(text));
  } catch (const Node::exception& error) {
    return bad("the whole", std::string("is no JSON: ") + error.what());
  }
}

} // namespace conclave::hf_bpe
