// tokenise: the domains' kept texts to token ids, before the length gate: so new length limits tokenise nothing again.

#include <limits>

#include "data/edits.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr const char* tokens_name = "tokens";
constexpr const char* lengths_name = "lengths";
constexpr std::size_t tokenise_unit_documents = std::size_t{1} << 16;

Status encode_document(const Tokenizer& tokenizer, const Document& document, std::int32_t vocabulary,
                       const std::string& plugin, std::vector<std::int32_t>& ids) {
  ids.clear();
  Status encoded = guard(plugin.c_str(), "encode", [&] { return tokenizer.encode(document.text, ids); });
  if (!encoded.ok()) {
    Error error = encoded.error();
    error.what += " (document " + std::string(document.id) + ")";
    return error;
  }
  for (const std::int32_t id : ids)
    if (id < 0 || id >= vocabulary)
      return internal_error("encode() gave token id " + std::to_string(id) + " outside its vocabulary of " +
                                std::to_string(vocabulary) + " for document " + std::string(document.id),
                            plugin);
  if (ids.size() > std::numeric_limits<std::uint32_t>::max())
    return unsupported("document " + std::string(document.id) + " has more than 2^32 tokens", "split it", plugin);
  return {};
}

Status write_ids(FileWriter& writer, const std::vector<std::int32_t>& ids, int width) {
  if (width == 4) return writer.write_values(ids);
  const std::vector<std::uint16_t> narrow(ids.begin(), ids.end());
  return writer.write_values(narrow);
}

/// The ids of a run of kept documents, and how many each has.
Result<StageOutput> tokenise_run(const StageContext& context, std::size_t domain, const TextStore& texts,
                                 std::span<const std::uint64_t> documents, std::int32_t vocabulary,
                                 const UnitCall& call) {
  const PrepareRequest& request = *context.request;
  CONCLAVE_ASSIGN(FileWriter tokens, FileWriter::create(call.directory / tokens_name));
  CONCLAVE_ASSIGN(FileWriter lengths, FileWriter::create(call.directory / lengths_name));
  const int width = token_width(vocabulary);
  std::vector<std::int32_t> ids;
  EditBuffers buffers;
  for (const std::uint64_t ordinal : documents) {
    if (request.stop.stop_requested()) return stopped_error();
    CONCLAVE_ASSIGN(const Document document, edited(context, domain, call.worker, texts.document(ordinal), buffers));
    CONCLAVE_RETURN_IF_ERROR(encode_document(*request.tokenizer, document, vocabulary, request.tokenizer_id, ids));
    CONCLAVE_RETURN_IF_ERROR(write_ids(tokens, ids, width));
    CONCLAVE_RETURN_IF_ERROR(lengths.write_value(static_cast<std::uint32_t>(ids.size())));
    call.done.fetch_add(1, std::memory_order_relaxed);
  }
  CONCLAVE_ASSIGN(FileEntry tokens_entry, finish_entry(tokens, call.sync));
  CONCLAVE_ASSIGN(FileEntry lengths_entry, finish_entry(lengths, call.sync));
  return StageOutput{{std::move(tokens_entry), std::move(lengths_entry)}, {}};
}

} // namespace

int token_width(std::int32_t vocabulary_size) noexcept { return vocabulary_size <= 65536 ? 2 : 4; }

Result<std::vector<TokenisedDomain>> tokenise_domains(const StageContext& context,
                                                      const std::vector<ReadDomain>& domains,
                                                      const Selection& selection, const std::string& tokenizer_digest) {
  const PrepareRequest& request = *context.request;
  CONCLAVE_ASSIGN(const std::int32_t vocabulary, guard(request.tokenizer_id.c_str(), "vocabulary_size",
                                                       [&] { return request.tokenizer->vocabulary_size(); }));
  std::vector<std::vector<Range>> units;
  std::vector<UnitJob> jobs(domains.size());
  for (std::size_t d = 0; d < domains.size(); ++d) {
    const auto kept = selection.documents(d);
    units.push_back(cut_into_units(kept.size(), tokenise_unit_documents,
                                   [&](std::size_t i) { return domains[d].texts.bytes(kept[i]); }));
    UnitJob& job = jobs[d];
    job.key = Digest()
                  .text("tokenise 2")
                  .text(domains[d].key)
                  .text(selection.digests[d])
                  .text(edits_key(context, d))
                  .text(tokenizer_digest)
                  .hex();
    job.subject = request.domains[d].name;
    job.units = units[d].size();
    job.size = [&units, d](std::size_t u) { return static_cast<std::int64_t>(units[d][u].second - units[d][u].first); };
    job.make = [&, kept, d](const UnitCall& call) {
      const auto [begin, end] = units[d][call.unit];
      return tokenise_run(context, d, domains[d].texts, kept.subspan(begin, end - begin), vocabulary, call);
    };
    job.facts = [&, d](const auto&) {
      return nlohmann::json{{"domain", request.domains[d].name}, {"width", token_width(vocabulary)}};
    };
  }
  CONCLAVE_RETURN_IF_ERROR(make_units(context, "tokens", "documents", jobs));

  std::vector<TokenisedDomain> tokenised(domains.size());
  for (std::size_t d = 0; d < domains.size(); ++d) {
    tokenised[d].key = jobs[d].key;
    CONCLAVE_ASSIGN(tokenised[d].tokens, MappedFile::open(jobs[d].stage->directory() / tokens_name));
    CONCLAVE_ASSIGN(tokenised[d].lengths, MappedFile::open(jobs[d].stage->directory() / lengths_name));
  }
  return tokenised;
}

} // namespace conclave::data
