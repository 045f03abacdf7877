// Units: the parts of a stage that are made, kept and shared out one by one.
//
// How a stage is cut into units depends on its input alone. A unit is a folder in the stage's partial folder, with a
// manifest like a stage's, committed by rename: what an interrupted process has finished stays, whichever task finished it,
// and the bytes are the same for any number of tasks. Tasks claim what is missing and unclaimed until nothing is; one of them
// then joins the stage's units, and the others wait for that. Any of the tasks alone would come to the end, too.
//
// A process alone has its units on the disk only when it joins them, since syncing small files would take much of its time;
// it checks the digests of those that it finds. Tasks sync each unit.
//
// Threading: called on the main thread; units are made on the context's workers, those of several jobs at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/stage.hpp"
#include "data/stages.hpp"
#include "data/text_store.hpp"

namespace conclave::data {

/// What is made: files in the folder that the maker was given, and what its manifest is to keep.
struct StageOutput {
  std::vector<FileEntry> files;
  nlohmann::json facts;
};

/// One unit, as its maker sees it.
struct UnitCall {
  std::size_t unit;
  int worker;
  Sync sync; ///< of the files
  const std::filesystem::path& directory;
  std::atomic<std::int64_t>& done; ///< of the stage's progress, to be added to: in all UnitJob::size(unit)
};

/// One stage folder to be made in units.
struct UnitJob {
  std::string key;
  std::string subject; ///< for people: the domain, or a filter and a domain
  std::size_t units = 0;
  std::function<std::int64_t(std::size_t unit)> size; ///< its part of the progress
  /// [workers] Code as guarded as that of a stage.
  std::function<Result<StageOutput>(const UnitCall& call)> make;
  /// The stage's facts from those of its units, in order.
  std::function<nlohmann::json(const std::vector<nlohmann::json>& units)> facts;

  std::optional<Stage> stage; ///< set by make_units(), and then complete
};

/// Makes what is missing of the jobs' stages, all named `name`; jobs of one key share a stage. Files of one name in several
/// units become one file, in the order of the units; a file of one unit is linked. `unit`: of the progress.
Status make_units(const StageContext& context, const char* name, const char* unit, std::vector<UnitJob>& jobs);

/// A stage without units: made on the calling thread, in the folder that `make` is given, by the task that claims it. The
/// others wait.
Result<Stage> make_whole(const StageContext& context, const char* name, const std::string& key,
                         const std::function<Result<StageOutput>(const std::filesystem::path& directory)>& make);

/// Adds what is there of the stage to the survey.
Status look_at(const Stage& stage, const std::string& subject, std::size_t units, std::vector<StageStatus>& survey);

/// Cuts [0, count) into the ranges of units, by bytes_of(position): 32 of them, of 1 to 16 MiB each; of more where that would
/// make more than 8192.
template <class BytesOf>
std::vector<Range> cut_into_units(std::size_t count, std::size_t max_count, BytesOf bytes_of) {
  constexpr std::uint64_t least_bytes = std::uint64_t{1} << 20, usual_bytes = std::uint64_t{16} << 20;
  constexpr std::uint64_t few_units = 32, most_units = 8192;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += bytes_of(i);
  return cut_into_chunks(count, std::max<std::uint64_t>(max_count, count / most_units),
                         std::max(std::clamp(total / few_units, least_bytes, usual_bytes), total / most_units),
                         bytes_of);
}

} // namespace conclave::data
