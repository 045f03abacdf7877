// What a checkpoint says of its run, and whether this experiment may go on from it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "conclave/status.hpp"
#include "config/experiment.hpp"

namespace conclave {

/// The `meta` object of a manifest.
struct CheckpointMeta {
  std::string config_hash, plan_digest, store_digest;
  std::int64_t vocabulary = 0;
  std::map<std::string, Experiment::Setting> settings;
  std::string tokenizer_id, model_id;
  std::map<std::string, std::string> plugins; ///< SHA-256 of the library by plugin id
  std::string machine;                        ///< instruction set and threads, on which the last bits depend
};

std::string to_json(const CheckpointMeta& meta);
Result<CheckpointMeta> parse_checkpoint_meta(const std::string& json);

struct ResumeDecision {
  std::vector<std::pair<std::string, std::string>> allowed; ///< numerics changes under --allow-change
  std::vector<std::string> notes;                           ///< what may change the last bits or nothing, to be logged
};

/// Refuses (Code::invalid_argument) when an option that affects numerics, the data order or the vocabulary changed, unless
/// `allow_change`; a vocabulary mismatch is always refused.
Result<ResumeDecision> compare_for_resume(const CheckpointMeta& then, const CheckpointMeta& now, bool allow_change);

} // namespace conclave
