// Training of a byte-level BPE, as Hugging Face's BpeTrainer does it: the pair that occurs most becomes a token, of equal ones
// that of the smaller ids; special tokens come first, then the 256 bytes in the order of their characters.
//
// What this is: deterministic, and equal to Hugging Face's merge by merge where the same texts, vocabulary and
// min_frequency are given. Memory is that of the distinct pieces, not of the text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/status.hpp"
#include "options.hpp"

namespace conclave::hf_bpe {

struct TrainedModel {
  std::vector<std::string> tokens;                           ///< by id, as vocabularies write them
  std::vector<std::pair<std::int32_t, std::int32_t>> merges; ///< pairs of ids, best first
};

/// `special`: the contents of the special tokens, ids 0 on. Too little text for options.vocabulary is an error; a host that
/// is stopped gives Code::stopped.
Result<TrainedModel> train_model(const Options& options, const std::vector<std::string>& special,
                                 const std::function<bool(std::string& text)>& next, HostContext& host);

} // namespace conclave::hf_bpe
