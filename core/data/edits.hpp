// Edits: what the EditFilters of a domain make of its texts where they are trained on.
//
// Threading: edited() may be called at once for different workers.
#pragma once

#include <array>
#include <string>

#include "data/stages.hpp"

namespace conclave::data {

/// Everything that the edits of the domain's texts depend on; empty when nothing edits them.
std::string edits_key(const StageContext& context, std::size_t domain);

/// Where edited texts lie; the same one for the next document spares its memory.
using EditBuffers = std::array<std::string, 2>;

/// `document` with the text that the domain's edit filters make of it, one after another, with the worker's instances. The
/// text is valid as long as that of `document` and `buffers` are.
Result<Document> edited(const StageContext& context, std::size_t domain, int worker, Document document,
                        EditBuffers& buffers);

} // namespace conclave::data
