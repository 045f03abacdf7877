// gate: the length limits in tokens, the held-out split, and the end token after each document.
//
// What becomes of a document is GateRule's to say. The end token follows where the text really ends. What was cut off is
// counted as bytes under the reason "cut" with no document, so kept and dropped documents still add up.

#include <algorithm>
#include <atomic>

#include "data/gate.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

struct SplitWriter {
  FileWriter tokens, bounds; ///< bounds: u64 start of each document, and the end
  std::int64_t documents = 0, text_bytes = 0;
  std::uint64_t written = 0;
};

Result<SplitWriter> create_split(const std::filesystem::path& directory, const std::string& name) {
  CONCLAVE_ASSIGN(FileWriter tokens, FileWriter::create(directory / (name + ".tokens")));
  CONCLAVE_ASSIGN(FileWriter bounds, FileWriter::create(directory / (name + ".bounds")));
  SplitWriter writer{std::move(tokens), std::move(bounds)};
  CONCLAVE_RETURN_IF_ERROR(writer.bounds.write_value(std::uint64_t{0}));
  return writer;
}

/// T: the stored id, u16 or i32.
template <class T>
class Gate {
 public:
  Gate(const PrepareRequest& request, std::int32_t end_token, const ReadDomain& read,
       std::span<const std::uint64_t> kept, const TokenisedDomain& tokenised, std::atomic<std::int64_t>& done)
      : request_(request),
        end_token_(end_token),
        read_(read),
        kept_(kept),
        ids_(tokenised.tokens.as<T>()),
        lengths_(tokenised.lengths.as<std::uint32_t>()),
        done_(done) {}

  Status run(SplitWriter& train, SplitWriter& held_out) {
    const GateRule rule(request_, read_.texts, kept_, lengths_);
    std::size_t first = 0;
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      const auto ids = ids_.subspan(first, lengths_[i]);
      first += lengths_[i];
      done_.fetch_add(1, std::memory_order_relaxed);
      if (i % 4096 == 0 && request_.stop.stop_requested()) return stopped_error();
      const auto bytes = static_cast<std::int64_t>(read_.texts.bytes(kept_[i]));
      if (const char* reason = rule.refusal(ids.size())) {
        tallies_[reason].add(bytes);
        continue;
      }
      CONCLAVE_RETURN_IF_ERROR(add(rule, ids, bytes, rule.held_out(i) ? held_out : train));
    }
    return {};
  }
  [[nodiscard]] const Tallies& tallies() const { return tallies_; }

 private:
  Status add(const GateRule& rule, std::span<const T> ids, std::int64_t bytes, SplitWriter& out) {
    const std::size_t limit = rule.limit(), used = rule.stored(ids.size());
    for (std::size_t at = 0; at < used; at += limit) {
      const std::size_t end = std::min(used, at + limit);
      CONCLAVE_RETURN_IF_ERROR(out.tokens.write_values(ids.subspan(at, end - at)));
      out.written += end - at;
      if (end == ids.size() && end_token_ >= 0) {
        CONCLAVE_RETURN_IF_ERROR(out.tokens.write_value(static_cast<T>(end_token_)));
        ++out.written;
      }
      CONCLAVE_RETURN_IF_ERROR(out.bounds.write_value(out.written));
      ++out.documents;
    }
    std::int64_t used_bytes = bytes;
    if (used < ids.size()) {
      used_bytes = bytes_of(ids.first(used), bytes, ids.size());
      tallies_["cut"].bytes += bytes - used_bytes;
    }
    tallies_[""].add(used_bytes);
    out.text_bytes += used_bytes;
    return {};
  }

  /// UTF-8 bytes of a document's first tokens: by decoding, or in proportion where the tokenizer cannot.
  std::int64_t bytes_of(std::span<const T> ids, std::int64_t bytes, std::size_t all) const {
    const std::vector<std::int32_t> wide(ids.begin(), ids.end());
    std::string text;
    const Status decoded = guard(request_.tokenizer_id.c_str(), "decode",
                                 [&] { return request_.tokenizer->decode(wide.data(), wide.size(), text); });
    if (decoded.ok()) return std::min(bytes, static_cast<std::int64_t>(text.size()));
    return static_cast<std::int64_t>(static_cast<double>(bytes) * static_cast<double>(ids.size()) /
                                     static_cast<double>(all));
  }

  const PrepareRequest& request_;
  std::int32_t end_token_;
  const ReadDomain& read_;
  std::span<const std::uint64_t> kept_;
  std::span<const T> ids_;
  std::span<const std::uint32_t> lengths_;
  std::atomic<std::int64_t>& done_;
  Tallies tallies_{{"", {}}};
};

nlohmann::json facts_of(const SplitWriter& writer) {
  return {{"documents", writer.documents}, {"tokens", writer.written}, {"text_bytes", writer.text_bytes}};
}

template <class T>
Result<StageOutput> make_gated(Gate<T> gate, const std::filesystem::path& directory, Sync sync) {
  CONCLAVE_ASSIGN(SplitWriter train, create_split(directory, "train"));
  CONCLAVE_ASSIGN(SplitWriter held_out, create_split(directory, "held_out"));
  CONCLAVE_RETURN_IF_ERROR(gate.run(train, held_out));
  StageOutput output;
  for (FileWriter* writer : {&train.tokens, &train.bounds, &held_out.tokens, &held_out.bounds}) {
    CONCLAVE_ASSIGN(FileEntry entry, finish_entry(*writer, sync));
    output.files.push_back(std::move(entry));
  }
  output.facts = {{"train", facts_of(train)}, {"held_out", facts_of(held_out)}, {"tallies", to_json(gate.tallies())}};
  return output;
}

} // namespace

Result<std::vector<GatedDomain>> gate_domains(const StageContext& context, const std::vector<ReadDomain>& domains,
                                              const Selection& selection,
                                              const std::vector<TokenisedDomain>& tokenised) {
  const PrepareRequest& request = *context.request;
  const char* plugin = request.tokenizer_id.c_str();
  CONCLAVE_ASSIGN(const SpecialTokens special,
                  guard(plugin, "special_tokens", [&] { return request.tokenizer->special_tokens(); }));
  CONCLAVE_ASSIGN(const std::int32_t vocabulary,
                  guard(plugin, "vocabulary_size", [&] { return request.tokenizer->vocabulary_size(); }));
  if (special.end >= vocabulary)
    return internal_error(
        "the end token " + std::to_string(special.end) + " is outside the vocabulary of " + std::to_string(vocabulary),
        request.tokenizer_id);
  std::vector<UnitJob> jobs(domains.size());
  for (std::size_t d = 0; d < domains.size(); ++d) {
    const auto kept = selection.documents(d);
    UnitJob& job = jobs[d];
    job.key = Digest()
                  .text("gate 1")
                  .text(tokenised[d].key)
                  .number(request.held_out)
                  .number(request.min_tokens)
                  .number(request.max_tokens)
                  .number(request.too_long)
                  .number(special.end)
                  .hex();
    job.subject = request.domains[d].name;
    job.units = 1; // the split is decided over the whole domain
    job.size = [kept](std::size_t) { return static_cast<std::int64_t>(kept.size()); };
    job.make = [&, kept, d](const UnitCall& call) -> Result<StageOutput> {
      const auto make = [&]<class T>(T) {
        return make_gated(Gate<T>(request, special.end, domains[d], kept, tokenised[d], call.done), call.directory,
                          call.sync);
      };
      return token_width(vocabulary) == 2 ? make(std::uint16_t{}) : make(std::int32_t{});
    };
    job.facts = [&, d](const std::vector<nlohmann::json>& units) {
      nlohmann::json facts = units.front();
      facts["domain"] = request.domains[d].name;
      return facts;
    };
  }
  CONCLAVE_RETURN_IF_ERROR(make_units(context, "gated", "documents", jobs));

  std::vector<GatedDomain> gated;
  for (UnitJob& job : jobs) {
    Tallies tallies = tallies_from_json(job.stage->facts().at("tallies"));
    gated.push_back({std::move(*job.stage), std::move(tallies)});
  }
  return gated;
}

} // namespace conclave::data
