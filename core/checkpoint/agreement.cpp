// Results as JSON texts: {"ok": text} or {"error": [code, where, what, fix]}.

#include "checkpoint/agreement.hpp"

#include <nlohmann/json.hpp>

namespace conclave {
namespace {

using Json = nlohmann::json;

std::string encode_result(const Result<std::string>& result) {
  Json json;
  if (result.ok()) {
    json["ok"] = *result;
  } else {
    const Error& error = result.error();
    json["error"] = {static_cast<int>(error.code), error.where, error.what, error.fix};
  }
  // Paths may be no UTF-8; an error that reads a little worse is better than none.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> decode_result(const std::string& text, const std::string& key) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    if (json.contains("ok")) return json.at("ok").get<std::string>();
    const Json& error = json.at("error");
    const int code = error.at(0).get<int>();
    const bool known = code >= 0 && code <= static_cast<int>(Code::peer_lost);
    return Error{known ? static_cast<Code>(code) : Code::internal, error.at(1).get<std::string>(),
                 error.at(2).get<std::string>(), error.at(3).get<std::string>()};
  } catch (const Json::exception&) {
    return internal_error("a rank sent what is no result", key);
  }
}

/// `rank 3: <what>`, and which other ranks failed as well.
Error named(const std::vector<std::size_t>& ranks, Error error) {
  error.what = "rank " + std::to_string(ranks.front()) + ": " + error.what;
  if (ranks.size() > 1) {
    error.what += ranks.size() > 2 ? " (also ranks" : " (also rank";
    for (std::size_t i = 1; i < ranks.size(); ++i) error.what += (i > 1 ? ", " : " ") + std::to_string(ranks[i]);
    error.what += ")";
  }
  return error;
}

} // namespace

Result<std::vector<std::string>> gather_results(Peers* peers, const std::string& key, const Result<std::string>& own) {
  if (peers == nullptr) {
    if (!own.ok()) return own.error();
    return std::vector<std::string>{*own};
  }
  CONCLAVE_ASSIGN(std::vector<std::string> texts, peers->gather(key, encode_result(own)));
  std::vector<std::size_t> failed;
  Error first;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    auto result = decode_result(texts[rank], key);
    if (result.ok()) {
      texts[rank] = std::move(result).value();
    } else {
      if (failed.empty()) first = result.error();
      failed.push_back(rank);
    }
  }
  if (!failed.empty()) return named(failed, std::move(first));
  return texts;
}

Result<std::string> share(Peers* peers, const std::string& key, const Result<std::string>& own) {
  if (peers == nullptr) return own;
  CONCLAVE_ASSIGN(const std::string text, peers->broadcast(key, encode_result(own)));
  return decode_result(text, key);
}

Status agree(Peers* peers, const std::string& key, const Status& own) {
  const auto result = own.ok() ? Result<std::string>(std::string()) : Result<std::string>(own.error());
  const auto all = gather_results(peers, key, result);
  const auto outcome = all.ok() ? Result<std::string>(std::string()) : Result<std::string>(all.error());
  return share(peers, key, outcome).status();
}

} // namespace conclave
