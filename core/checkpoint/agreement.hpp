// Results across ranks: what each rank found becomes one outcome that all ranks have.
//
// Null peers are one rank, so that a caller has one path for both. An error of several ranks is the first one's, naming
// them all. A failure of the exchange itself is Code::peer_lost, from Peers.
//
// Threading: as Peers.
#pragma once

#include <concepts>
#include <exception>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "checkpoint/peers.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// Rank 0, or the only one.
[[nodiscard]] inline bool leads(const Peers* peers) { return peers == nullptr || peers->rank() == 0; }

/// Rank 0: every rank's text in rank order, or an error when a rank's result is one. The others: ok and empty as soon as
/// theirs is sent, whatever it is.
Result<std::vector<std::string>> gather_results(Peers* peers, const std::string& key, const Result<std::string>& own);

/// Every rank: rank 0's result. `own` counts on rank 0 only.
Result<std::string> share(Peers* peers, const std::string& key, const Result<std::string>& own);

/// Every rank: ok when all are, else the error.
Status agree(Peers* peers, const std::string& key, const Status& own);

/// What `work` returns, a Status or Result; an exception becomes Code::internal, `<what> failed: ...`. A rank that left an
/// exchange by an exception would keep the others waiting.
template <std::invocable Work>
std::invoke_result_t<Work> contained(const char* what, const std::filesystem::path& where, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::exception& caught) {
    return internal_error(std::string(what) + " failed: " + caught.what(), where.string());
  }
}

} // namespace conclave
