// Special tokens by name: see special_names.hpp.

#include "special_names.hpp"

#include <algorithm>
#include <initializer_list>

namespace conclave::hf_bpe {
namespace {

std::int32_t id_of(const std::vector<AddedToken>& added, const std::string& content) {
  const auto found = std::ranges::find(added, content, &AddedToken::content);
  return found == added.end() ? -1 : found->id;
}

Result<std::int32_t> find(const std::vector<AddedToken>& added, const char* option, const std::string& name,
                          std::initializer_list<const char*> usual) {
  if (name.empty()) {
    for (const char* each : usual)
      if (const std::int32_t id = id_of(added, each); id >= 0) return id;
    return -1;
  }
  const std::int32_t id = id_of(added, name);
  if (id >= 0) return id;
  return invalid(std::string("`") + option + "` is '" + name + "', which is none of the tokenizer's added tokens",
                 "name one of its added_tokens, or leave the option out");
}

} // namespace

Result<SpecialTokens> find_special_tokens(const Options& options, const std::vector<AddedToken>& added) {
  SpecialTokens special;
  CONCLAVE_ASSIGN(special.beginning,
                  find(added, "beginning", options.beginning, {trained_beginning, "<｜begin▁of▁sentence｜>", "<s>"}));
  CONCLAVE_ASSIGN(special.end,
                  find(added, "end", options.end, {trained_end, "<｜end▁of▁sentence｜>", "<|endoftext|>", "</s>"}));
  CONCLAVE_ASSIGN(special.padding, find(added, "padding", options.padding,
                                        {trained_padding, "<｜▁pad▁｜>", "<|finetune_right_pad_id|>", "<pad>"}));
  CONCLAVE_ASSIGN(special.unknown, find(added, "unknown", options.unknown, {"<unk>"}));
  return special;
}

} // namespace conclave::hf_bpe
