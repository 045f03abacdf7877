// tokenizer: trains the experiment's tokenizer on a sample of the kept training texts, once; its state is the cache.
//
// The sample: each domain gets its share of the bytes; within it the documents with the smallest mixed hash, so the choice
// depends on the texts alone; they are given in corpus order, the last one chosen cut to fit. A domain with less text
// than its part gives all of it.

#include <algorithm>
#include <limits>
#include <numeric>

#include "data/edits.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "data/utf8.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr const char* state_name = "tokenizer.state";

struct Pick {
  std::size_t domain;
  std::uint64_t document;
  std::size_t bytes; ///< of its text, from the beginning
};

double share_of(const PrepareRequest& request, std::size_t domain) {
  double total = 0;
  for (const DomainInput& each : request.domains) total += each.share;
  return request.domains[domain].share / total;
}

std::vector<Pick> pick_sample(const PrepareRequest& request, const std::vector<ReadDomain>& domains,
                              const Selection& selection) {
  std::vector<Pick> picks;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    std::uint64_t budget = std::numeric_limits<std::uint64_t>::max();
    if (request.tokenizer_sample_bytes > 0)
      budget = static_cast<std::uint64_t>(static_cast<double>(request.tokenizer_sample_bytes) * share_of(request, d));
    const TextStore& texts = domains[d].texts;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> order; // (mixed hash, document)
    for (const std::uint64_t document : selection.documents(d)) {
      const std::uint64_t hash = texts.hash(document);
      if (is_held_out(hash, request.held_out)) continue;
      order.emplace_back(hash * 0x9e3779b97f4a7c15ull ^ hash >> 29, document); // not the order of the split
    }
    std::sort(order.begin(), order.end());
    const std::size_t begin = picks.size();
    for (const auto& [hash, document] : order) {
      if (budget == 0) break;
      const std::uint64_t bytes = std::min(budget, texts.bytes(document));
      picks.push_back({d, document, bytes});
      budget -= bytes;
    }
    std::sort(picks.begin() + static_cast<std::ptrdiff_t>(begin), picks.end(),
              [](const Pick& a, const Pick& b) { return a.document < b.document; });
  }
  return picks;
}

std::string tokenizer_key(const StageContext& context, const std::vector<ReadDomain>& domains,
                          const Selection& selection) {
  const PrepareRequest& request = *context.request;
  Digest digest;
  digest.text("tokenizer 2")
      .text(request.tokenizer_key)
      .number(request.tokenizer_sample_bytes)
      .number(request.held_out);
  for (std::size_t d = 0; d < domains.size(); ++d)
    digest.text(domains[d].key).text(selection.digests[d]).text(edits_key(context, d)).number(share_of(request, d));
  return digest.hex();
}

/// Trains request.tokenizer, and keeps its state.
Result<StageOutput> make_tokenizer(const StageContext& context, const std::vector<ReadDomain>& domains,
                                   const Selection& selection, const std::filesystem::path& directory) {
  const PrepareRequest& request = *context.request;
  const char* plugin = request.tokenizer_id.c_str();
  const std::vector<Pick> picks = pick_sample(request, domains, selection);
  const auto total =
      std::accumulate(picks.begin(), picks.end(), std::int64_t{0},
                      [](std::int64_t sum, const Pick& pick) { return sum + static_cast<std::int64_t>(pick.bytes); });
  if (total == 0)
    return invalid("there is no text to train the tokenizer on", "loosen the filters, or name more input",
                   request.tokenizer_id);
  std::size_t at = 0;
  std::int64_t given = 0;
  EditBuffers buffers;
  Status edit;
  const Status done = guard(plugin, "train", [&] {
    return request.tokenizer->train([&](std::string& text) {
      if (at == picks.size() || request.stop.stop_requested()) return false;
      const Pick& pick = picks[at++];
      const auto document =
          edited(context, pick.domain, 0, domains[pick.domain].texts.document(pick.document), buffers);
      if (!document.ok()) {
        edit = document.error();
        return false;
      }
      text = utf8_prefix(document->text, pick.bytes);
      given += static_cast<std::int64_t>(pick.bytes);
      context.progress("tokenizer", given, total, "bytes");
      return true;
    });
  });
  CONCLAVE_RETURN_IF_ERROR(edit);
  CONCLAVE_RETURN_IF_ERROR(done);
  if (request.stop.stop_requested()) return stopped_error();

  CONCLAVE_ASSIGN(const std::string state, guard(plugin, "serialize", [&] { return request.tokenizer->serialize(); }));
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(directory / state_name));
  CONCLAVE_RETURN_IF_ERROR(writer.write(state));
  CONCLAVE_ASSIGN(FileEntry entry, finish_entry(writer));
  return StageOutput{{std::move(entry)}, {{"tokenizer", request.tokenizer_id}, {"sample_bytes", total}}};
}

} // namespace

Status train_tokenizer(const StageContext& context, const std::vector<ReadDomain>& domains,
                       const Selection& selection) {
  const PrepareRequest& request = *context.request;
  const char* plugin = request.tokenizer_id.c_str();
  CONCLAVE_ASSIGN(const bool needed,
                  guard(plugin, "needs_training", [&] { return request.tokenizer->needs_training(); }));
  if (!needed) return {};
  const auto train = [&](const std::filesystem::path& directory) {
    return make_tokenizer(context, domains, selection, directory);
  };
  CONCLAVE_ASSIGN(const Stage stage,
                  make_whole(context, "tokenizer", tokenizer_key(context, domains, selection), train));
  CONCLAVE_ASSIGN(const bool untrained,
                  guard(plugin, "needs_training", [&] { return request.tokenizer->needs_training(); }));
  if (!untrained) return {};
  CONCLAVE_ASSIGN(const std::string state, read_file(stage.directory() / state_name));
  return guard(plugin, "load", [&] { return request.tokenizer->load(state); });
}

} // namespace conclave::data
