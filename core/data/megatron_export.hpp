// export_megatron(): prepared data as Megatron's indexed data sets, a pair of files for each domain and split.
//
// Threading: one thread.
#pragma once

#include <filesystem>
#include <stop_token>

#include "data/token_store.hpp"

namespace conclave::data {

/// Writes `<domain>-train.bin`, `.idx` and `<domain>-held_out.bin`, `.idx` into `directory`, which is made; files that are
/// there are an error. A sequence is a document of the store, its end token included; a split without one is left out.
Status export_megatron(const TokenStore& store, const std::filesystem::path& directory, const std::stop_token& stop);

} // namespace conclave::data
