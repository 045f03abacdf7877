// gate: the length limits in tokens, the held-out split, and the end token after each document.
//
// Limits count the text's own tokens, without the end token. A document shorter than min_tokens is dropped. One longer
// than max_tokens is dropped, cut at max_tokens, or split into pieces of max_tokens (a last piece below min_tokens is
// cut off). Pieces are documents of the store; the end token follows where the text really ends. What was cut off is
// counted as bytes under the reason "cut" with no document, so kept and dropped documents still add up.

#include <algorithm>
#include <limits>

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

enum TooLong { drop = 0, split = 1, truncate = 2 };

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
       std::span<const std::uint64_t> kept, const TokenisedDomain& tokenised)
      : request_(request),
        end_token_(end_token),
        read_(read),
        kept_(kept),
        ids_(tokenised.tokens.as<T>()),
        lengths_(tokenised.lengths.as<std::uint32_t>()) {}

  Status run(SplitWriter& train, SplitWriter& held_out) {
    const Forced forced = forced_text();
    std::size_t first = 0;
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      const auto ids = ids_.subspan(first, lengths_[i]);
      first += lengths_[i];
      if (i % 4096 == 0 && request_.stop.stop_requested()) return stopped_error();
      const auto bytes = static_cast<std::int64_t>(read_.texts.bytes(kept_[i]));
      if (const char* reason = refusal(ids.size())) {
        tallies_[reason].add(bytes);
        continue;
      }
      const std::uint64_t hash = read_.texts.hash(kept_[i]);
      const bool held = is_held_out(hash, request_.held_out) != (forced.any && hash == forced.hash);
      CONCLAVE_RETURN_IF_ERROR(add(ids, bytes, held ? held_out : train));
    }
    return {};
  }
  [[nodiscard]] const Tallies& tallies() const { return tallies_; }

 private:
  [[nodiscard]] const char* refusal(std::size_t length) const {
    const auto tokens = static_cast<std::int64_t>(length);
    if (tokens < std::max<std::int64_t>(request_.min_tokens, 1)) return "too-short";
    if (tokens > request_.max_tokens && request_.too_long == TooLong::drop) return "too-long";
    return nullptr;
  }

  struct Forced {
    std::uint64_t hash = 0; ///< texts with this hash go to the other split than is_held_out() says
    bool any = false;
  };
  /// A small domain may have no text below the split's threshold, or none above it. Its text with the smallest hash then
  /// changes sides, so that every domain of two texts can be trained and evaluated; a single text is for training.
  [[nodiscard]] Forced forced_text() const {
    std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
    std::size_t texts = 0, held_out = 0;
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      if (refusal(lengths_[i]) != nullptr) continue;
      const std::uint64_t hash = read_.texts.hash(kept_[i]);
      smallest = std::min(smallest, hash);
      held_out += is_held_out(hash, request_.held_out);
      ++texts;
    }
    const bool all = texts > 0 && held_out == texts;
    const bool none = texts > 1 && held_out == 0 && request_.held_out > 0;
    return {smallest, all || none};
  }

  Status add(std::span<const T> ids, std::int64_t bytes, SplitWriter& out) {
    const auto limit = static_cast<std::size_t>(request_.max_tokens);
    std::size_t used = ids.size();
    if (used > limit && request_.too_long == TooLong::truncate) used = limit;
    if (used > limit && request_.too_long == TooLong::split) {
      const std::size_t rest = used % limit;
      if (rest != 0 && static_cast<std::int64_t>(rest) < request_.min_tokens) used -= rest;
    }
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
  Tallies tallies_{{"", {}}};
};

nlohmann::json facts_of(const SplitWriter& writer) {
  return {{"documents", writer.documents}, {"tokens", writer.written}, {"text_bytes", writer.text_bytes}};
}

template <class T>
Status make_gated(Stage& stage, Gate<T> gate, const std::string& domain) {
  CONCLAVE_ASSIGN(SplitWriter train, create_split(stage.directory(), "train"));
  CONCLAVE_ASSIGN(SplitWriter held_out, create_split(stage.directory(), "held_out"));
  CONCLAVE_RETURN_IF_ERROR(gate.run(train, held_out));
  std::vector<FileEntry> files;
  for (FileWriter* writer : {&train.tokens, &train.bounds, &held_out.tokens, &held_out.bounds}) {
    CONCLAVE_ASSIGN(FileEntry entry, finish_entry(*writer));
    files.push_back(std::move(entry));
  }
  return stage.commit(std::move(files), {{"domain", domain},
                                         {"train", facts_of(train)},
                                         {"held_out", facts_of(held_out)},
                                         {"tallies", to_json(gate.tallies())}});
}

} // namespace

Result<GatedDomain> gate_domain(const StageContext& context, std::size_t domain, const ReadDomain& read,
                                const Selection& selection, const TokenisedDomain& tokenised) {
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
  const std::string key = Digest()
                              .text("gate 1")
                              .text(tokenised.key)
                              .number(request.held_out)
                              .number(request.min_tokens)
                              .number(request.max_tokens)
                              .number(request.too_long)
                              .number(special.end)
                              .hex();
  CONCLAVE_ASSIGN(Stage stage, Stage::open(request.cache, "gated", key, request.stop, request.notice));
  if (!stage.complete()) {
    const auto kept = selection.documents(domain);
    const std::string& name = request.domains[domain].name;
    if (token_width(vocabulary) == 2) {
      CONCLAVE_RETURN_IF_ERROR(
          make_gated(stage, Gate<std::uint16_t>(request, special.end, read, kept, tokenised), name));
    } else {
      CONCLAVE_RETURN_IF_ERROR(
          make_gated(stage, Gate<std::int32_t>(request, special.end, read, kept, tokenised), name));
    }
  }
  Tallies tallies = tallies_from_json(stage.facts().at("tallies"));
  return GatedDomain{std::move(stage), std::move(tallies)};
}

} // namespace conclave::data
