// Document by document.

#include "data/megatron_export.hpp"

#include <string>
#include <vector>

#include "data/megatron_writer.hpp"
#include "data/parallel.hpp"
#include "io/folders.hpp"

namespace conclave::data {
namespace {

Status export_split(const TokenStore& store, Split split, std::size_t domain, const std::filesystem::path& prefix,
                    const std::stop_token& stop) {
  CONCLAVE_ASSIGN(MegatronWriter writer, MegatronWriter::create(prefix, store.vocabulary_size()));
  std::vector<std::int32_t> ids;
  const std::int64_t documents = store.documents(split, domain);
  for (std::int64_t i = 0; i < documents; ++i) {
    if (i % 4096 == 0 && stop.stop_requested()) return stopped_error();
    const std::int64_t first = store.document_start(split, domain, i), end = store.document_start(split, domain, i + 1);
    ids.resize(static_cast<std::size_t>(end - first));
    store.copy(split, domain, first, end - first, ids.data());
    CONCLAVE_RETURN_IF_ERROR(writer.add(ids));
  }
  return writer.finish();
}

} // namespace

Status export_megatron(const TokenStore& store, const std::filesystem::path& directory, const std::stop_token& stop) {
  CONCLAVE_RETURN_IF_ERROR(make_directories(directory));
  for (std::size_t d = 0; d < store.domain_count(); ++d)
    for (const Split split : {Split::train, Split::held_out}) {
      if (store.documents(split, d) == 0) continue;
      const std::string name = store.domain_name(d) + (split == Split::train ? "-train" : "-held_out");
      CONCLAVE_RETURN_IF_ERROR(export_split(store, split, d, directory / name, stop));
    }
  return sync_directory(directory);
}

} // namespace conclave::data
