// find_duplicates(): the host's half of a DedupFilter. It collects the keys of all documents still alive, sorts them, joins
// documents that are the same under a key, and names all but the first document of each cluster.
//
// What this is not: the measure of likeness; that is the filter's.
//
// Memory: request.memory for sorting (external_sort.hpp), and one bit for each document; what does not fit is sorted in files
// of `scratch`. The answer is the same for any memory and any number of workers.
//
// Threading: keys are computed on the context's workers; same() is called on the calling thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/report.hpp"
#include "data/stages.hpp"

namespace conclave::data {

/// A bit for each document: [domain][ordinal within the domain].
using DocumentSet = std::vector<std::vector<bool>>;

struct Duplicates {
  std::string reason;
  DocumentSet drop;
  DedupSummary summary; ///< large groups: clusters.hpp
};

/// columns[domain] and alive[domain] of domains that the filter does not see are not read.
Result<Duplicates> find_duplicates(const StageContext& context, const FilterStage& filter,
                                   const FilterInstances& instances, const std::vector<ReadDomain>& domains,
                                   const std::vector<ColumnStore>& columns, const DocumentSet& alive,
                                   const std::filesystem::path& scratch);

} // namespace conclave::data
