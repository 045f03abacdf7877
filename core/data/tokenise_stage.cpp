// tokenise: a domain's kept texts to token ids, before the length gate: so new length limits tokenise nothing again.

#include <limits>

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr const char* tokens_name = "tokens";
constexpr const char* lengths_name = "lengths";
constexpr std::size_t tokenise_chunk_documents = 512;
constexpr std::uint64_t tokenise_chunk_bytes = std::uint64_t{1} << 18;

struct ChunkResult {
  std::vector<std::int32_t> ids;
  std::vector<std::uint32_t> lengths;
};

Status encode_document(const Tokenizer& tokenizer, const Document& document, std::int32_t vocabulary,
                       const std::string& plugin, ChunkResult& result) {
  const std::size_t before = result.ids.size();
  Status encoded = guard(plugin.c_str(), "encode", [&] { return tokenizer.encode(document.text, result.ids); });
  if (!encoded.ok()) {
    Error error = encoded.error();
    error.what += " (document " + std::string(document.id) + ")";
    return error;
  }
  for (std::size_t i = before; i < result.ids.size(); ++i)
    if (result.ids[i] < 0 || result.ids[i] >= vocabulary)
      return internal_error("encode() gave token id " + std::to_string(result.ids[i]) + " outside its vocabulary of " +
                                std::to_string(vocabulary) + " for document " + std::string(document.id),
                            plugin);
  const std::size_t length = result.ids.size() - before;
  if (length > std::numeric_limits<std::uint32_t>::max())
    return unsupported("document " + std::string(document.id) + " has more than 2^32 tokens", "split it", plugin);
  result.lengths.push_back(static_cast<std::uint32_t>(length));
  return {};
}

Status write_ids(FileWriter& writer, const std::vector<std::int32_t>& ids, int width) {
  if (width == 4) return writer.write_values(ids);
  const std::vector<std::uint16_t> narrow(ids.begin(), ids.end());
  return writer.write_values(narrow);
}

} // namespace

int token_width(std::int32_t vocabulary_size) noexcept { return vocabulary_size <= 65536 ? 2 : 4; }

Result<TokenisedDomain> tokenise_domain(const StageContext& context, std::size_t domain, const ReadDomain& read,
                                        const Selection& selection, const std::string& tokenizer_digest) {
  const PrepareRequest& request = *context.request;
  const Tokenizer& tokenizer = *request.tokenizer;
  TokenisedDomain tokenised;
  tokenised.key =
      Digest().text("tokenise 1").text(read.key).text(selection.digests[domain]).text(tokenizer_digest).hex();
  CONCLAVE_ASSIGN(Stage stage, Stage::open(request.cache, "tokens", tokenised.key, request.stop, request.notice));
  if (!stage.complete()) {
    CONCLAVE_ASSIGN(const std::int32_t vocabulary, guard(request.tokenizer_id.c_str(), "vocabulary_size",
                                                         [&] { return tokenizer.vocabulary_size(); }));
    const int width = token_width(vocabulary);
    const auto kept = selection.documents(domain);
    const auto chunks = cut_into_chunks(kept.size(), tokenise_chunk_documents, tokenise_chunk_bytes,
                                        [&](std::size_t i) { return read.texts.bytes(kept[i]); });
    CONCLAVE_ASSIGN(FileWriter tokens, FileWriter::create(stage.directory() / tokens_name));
    CONCLAVE_ASSIGN(FileWriter lengths, FileWriter::create(stage.directory() / lengths_name));
    const Status done = ordered_parallel<ChunkResult>(
        context.workers, static_cast<std::int64_t>(chunks.size()), request.stop,
        [&](std::int64_t chunk, int) -> Result<ChunkResult> {
          const auto [begin, end] = chunks[static_cast<std::size_t>(chunk)];
          ChunkResult result;
          for (std::size_t i = begin; i < end; ++i)
            CONCLAVE_RETURN_IF_ERROR(
                encode_document(tokenizer, read.texts.document(kept[i]), vocabulary, request.tokenizer_id, result));
          return result;
        },
        [&](std::int64_t chunk, ChunkResult&& result) -> Status {
          CONCLAVE_RETURN_IF_ERROR(write_ids(tokens, result.ids, width));
          CONCLAVE_RETURN_IF_ERROR(lengths.write_values(result.lengths));
          context.progress("tokenise", static_cast<std::int64_t>(chunks[static_cast<std::size_t>(chunk)].second),
                           static_cast<std::int64_t>(kept.size()), "documents");
          return {};
        });
    CONCLAVE_RETURN_IF_ERROR(done);
    CONCLAVE_ASSIGN(FileEntry tokens_entry, finish_entry(tokens));
    CONCLAVE_ASSIGN(FileEntry lengths_entry, finish_entry(lengths));
    CONCLAVE_RETURN_IF_ERROR(stage.commit({std::move(tokens_entry), std::move(lengths_entry)},
                                          {{"domain", request.domains[domain].name}, {"width", width}}));
  }
  CONCLAVE_ASSIGN(tokenised.tokens, MappedFile::open(stage.directory() / tokens_name));
  CONCLAVE_ASSIGN(tokenised.lengths, MappedFile::open(stage.directory() / lengths_name));
  return tokenised;
}

} // namespace conclave::data
