// The views of `conclave data`: what each shows as JSON, and that JSON as text.
//
// Threading: main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "config/experiment.hpp"
#include "data/batch_plan.hpp"
#include "data/prepare.hpp"
#include "run/data_session.hpp"

namespace conclave {

struct PreparedData {
  std::shared_ptr<const data::TokenStore> store;
  data::PrepareReport report;
  std::shared_ptr<const data::BatchPlan> plan; ///< of training, by one rank
};
/// Data that is not prepared is an error.
Result<PreparedData> open_prepared(const Experiment& experiment, const DataSession& session);

nlohmann::ordered_json show_corpus(const PreparedData& prepared);
std::string show_text(const nlohmann::ordered_json& view);

struct SampleRequest {
  std::int64_t batch = -1; ///< of training; -1: documents
  std::int64_t count = 3;
  std::string domain; ///< "": every domain
  bool held_out = false;
};
/// Documents that are spread over each domain (the same ones every time), or the sequences of a batch.
Result<nlohmann::ordered_json> sample_corpus(const DataSession& session, const PreparedData& prepared,
                                             const SampleRequest& request);
std::string sample_text(const nlohmann::ordered_json& view);

/// `batches`: "first:end", or "" for none.
Result<nlohmann::ordered_json> count_corpus(const DataSession& session, const PreparedData& prepared,
                                            const std::string& batches);
std::string stats_text(const nlohmann::ordered_json& view);

} // namespace conclave
