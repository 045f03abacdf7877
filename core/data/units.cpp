// Sharing out, making and joining units.

#include "data/units.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "data/parallel.hpp"
#include "io/folders.hpp"

namespace conclave::data {
namespace {

namespace fs = std::filesystem;

std::string unit_name(std::size_t unit) {
  char name[32];
  std::snprintf(name, sizeof name, "unit-%05zu", unit);
  return name;
}

/// The error that ends a survey at the first stage that is not there: what follows depends on it.
Error survey_ends() { return {Code::stopped, "", "the prepared data is not complete", "run `conclave prepare`"}; }

constexpr const char* whole = "stage"; // claimed for a stage without units, and for joining

bool is_there(const fs::path& path) {
  std::error_code none;
  return fs::exists(path, none);
}

/// Lets go of a claim, however its work ends.
class Claim {
 public:
  static Result<std::optional<Claim>> take(const Stage& stage, std::string what) {
    CONCLAVE_ASSIGN(const bool mine, stage.claim(what));
    if (!mine) return std::optional<Claim>();
    return std::optional<Claim>(Claim(stage, std::move(what)));
  }
  Claim(Claim&& other) noexcept : stage_(std::exchange(other.stage_, nullptr)), what_(std::move(other.what_)) {}
  Claim& operator=(Claim&&) = delete;
  ~Claim() {
    if (stage_ != nullptr) stage_->release(what_);
  }

 private:
  Claim(const Stage& stage, std::string what) : stage_(&stage), what_(std::move(what)) {}
  const Stage* stage_;
  std::string what_;
};

Sync sync_of(const Stage& stage) { return stage.task().alone() ? Sync::later : Sync::now; }

/// Removes what an earlier process left and a power cut has spoilt since.
Status drop_damaged_units(const UnitJob& job) {
  for (std::size_t u = 0; u < job.units; ++u) {
    const fs::path directory = job.stage->partial() / unit_name(u);
    if (!is_there(directory) || verify_stage(directory).ok()) continue;
    std::error_code error;
    fs::remove_all(directory, error);
    if (error) return file_error(directory, "remove the damaged folder", error.value());
  }
  return {};
}

/// Makes the unit unless it is there, or is claimed by somebody else.
Status make_unit(const UnitJob& job, std::size_t unit, int worker, std::atomic<std::int64_t>& done) {
  const Stage& stage = *job.stage;
  const fs::path to = stage.partial() / unit_name(unit);
  CONCLAVE_ASSIGN(const auto claim, Claim::take(stage, unit_name(unit)));
  const bool made_before = is_there(to);
  // Another task may have finished the whole stage since this one looked for its unit, and removed all units.
  CONCLAVE_ASSIGN(const auto finished, find_stage_manifest(stage.folder()));
  if (!claim || made_before || finished) {
    done.fetch_add(job.size(unit), std::memory_order_relaxed);
    return {};
  }
  const fs::path directory = stage.own(unit_name(unit));
  std::error_code error;
  fs::create_directory(directory, error);
  if (error) return file_error(directory, "make the folder", error.value());
  CONCLAVE_ASSIGN(StageOutput output, job.make({unit, worker, sync_of(stage), directory, done}));
  return commit_folder(directory, to, {stage.name(), job.key, std::move(output.facts), std::move(output.files)},
                       sync_of(stage));
}

/// The units' manifests, when all of them are there. A damaged one is removed, so that it is made again.
Result<std::optional<std::vector<StageManifest>>> all_units(const UnitJob& job) {
  std::vector<StageManifest> units;
  for (std::size_t u = 0; u < job.units; ++u) {
    const fs::path directory = job.stage->partial() / unit_name(u);
    if (!is_there(directory)) return std::optional<std::vector<StageManifest>>();
    CONCLAVE_ASSIGN(auto manifest, find_stage_manifest(directory));
    if (!manifest) {
      std::error_code error;
      fs::remove_all(directory, error);
      if (error) return file_error(directory, "remove the damaged folder", error.value());
      return std::optional<std::vector<StageManifest>>();
    }
    units.push_back(std::move(*manifest));
  }
  return std::optional<std::vector<StageManifest>>(std::move(units));
}

struct Piece {
  fs::path path;
  const FileEntry* entry;
};

/// `sync`: that of the pieces.
Result<FileEntry> join_pieces(const fs::path& to, const std::vector<Piece>& pieces, Sync sync) {
  if (pieces.size() == 1) {
    CONCLAVE_RETURN_IF_ERROR(link_or_copy(pieces.front().path, to));
    if (sync == Sync::later) CONCLAVE_RETURN_IF_ERROR(sync_file(to)); // that of its unit
    return *pieces.front().entry;
  }
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(to));
  for (const Piece& piece : pieces) {
    CONCLAVE_ASSIGN(const MappedFile file, MappedFile::open(piece.path));
    const auto bytes = file.bytes();
    if (Digest().bytes(bytes.data(), bytes.size()).hex() != piece.entry->digest)
      return storage_error("the file's content does not match its digest",
                           "remove the folder " + piece.path.parent_path().string() + "; prepare then makes it again",
                           piece.path.string());
    CONCLAVE_RETURN_IF_ERROR(writer.write(bytes));
  }
  return finish_entry(writer);
}

Status join_units(const StageContext& context, const UnitJob& job, const std::vector<StageManifest>& units,
                  Stage& stage) {
  std::vector<std::string> names; // in the order in which they occur first
  std::map<std::string, std::vector<Piece>> pieces;
  std::vector<nlohmann::json> facts;
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const FileEntry& entry : units[u].files) {
      auto& list = pieces[entry.name];
      if (list.empty()) names.push_back(entry.name);
      list.push_back({stage.partial() / unit_name(u) / entry.name, &entry});
    }
    facts.push_back(units[u].facts);
  }
  std::vector<FileEntry> files;
  const Status joined = ordered_parallel<FileEntry>(
      context.workers, static_cast<std::int64_t>(names.size()), context.request->stop,
      [&](std::int64_t i, int) {
        const std::string& name = names[static_cast<std::size_t>(i)];
        return join_pieces(stage.directory() / name, pieces.at(name), sync_of(stage));
      },
      [&](std::int64_t, FileEntry&& entry) {
        files.push_back(std::move(entry));
        return Status();
      });
  CONCLAVE_RETURN_IF_ERROR(joined);
  return stage.commit(std::move(files), job.facts(facts));
}

/// What of a stage this task can do, as it looks now.
struct Outlook {
  std::vector<std::size_t> units; ///< missing and unclaimed
  std::string others;             ///< what others have claimed, in words
  bool joinable = false;          ///< every unit is there, and nobody is joining them
};

/// One listing of the folder: it may be on a file system for which every question is a journey.
Outlook look_around(const UnitJob& job) {
  const Stage& stage = *job.stage;
  std::set<std::string> names;
  std::error_code none;
  for (fs::directory_iterator at(stage.partial(), none), end; !none && at != end; at.increment(none))
    names.insert(at->path().filename());
  const auto claimed = [&](const std::string& what) { return names.contains(Stage::claim_name(what)); };
  Outlook outlook;
  std::size_t missing = 0, told = 0;
  const auto tell = [&](const std::string& what) {
    constexpr std::size_t most = 4;
    if (told < most)
      outlook.others += (told > 0 ? ", " : "") + what + " of " + stage.claimed_by(what);
    else if (told == most)
      outlook.others += ", and more";
    ++told;
  };
  for (std::size_t u = 0; u < job.units; ++u) {
    const std::string name = unit_name(u);
    if (names.contains(name)) continue;
    ++missing;
    if (claimed(name))
      tell(name);
    else
      outlook.units.push_back(u);
  }
  if (missing == 0 && claimed(whole)) tell(whole);
  outlook.joinable = missing == 0 && !claimed(whole);
  return outlook;
}

std::string waiting_text(const Stage& stage, const std::string& others) {
  return "waiting for other tasks to finish " + stage.folder().string() + ": " + others +
         " (a task that was killed must be started again)";
}

/// Joins the stage's units if all of them are there and nobody else does it.
Status try_to_join(const StageContext& context, UnitJob& job) {
  CONCLAVE_ASSIGN(const auto claim, Claim::take(*job.stage, whole));
  CONCLAVE_RETURN_IF_ERROR(job.stage->adopt());
  if (!claim || job.stage->complete()) return {};
  CONCLAVE_ASSIGN(const auto units, all_units(job));
  if (!units) return {};
  if (!job.stage->task().alone()) CONCLAVE_RETURN_IF_ERROR(job.stage->begin());
  return join_units(context, job, *units, *job.stage);
}

/// Until this task can do something for the stage, or the stage is complete.
Status wait_for_work(const StageContext& context, UnitJob& job) {
  const PrepareRequest& request = *context.request;
  Outlook outlook;
  return wait_until(
      [&]() -> Result<bool> {
        outlook = look_around(job);
        CONCLAVE_RETURN_IF_ERROR(job.stage->adopt());
        return job.stage->complete() || outlook.joinable || !outlook.units.empty();
      },
      request.stop, request.notice, [&] { return waiting_text(*job.stage, outlook.others); });
}

struct Item {
  std::size_t job, unit;
};

/// Makes all that is missing and unclaimed; each task begins at another place.
Status make_missing(const StageContext& context, const char* name, const char* unit, std::vector<UnitJob>& jobs,
                    const std::vector<std::size_t>& open) {
  const PrepareRequest& request = *context.request;
  std::vector<Item> items;
  std::int64_t total = 0;
  for (const std::size_t j : open)
    for (const std::size_t u : look_around(jobs[j]).units) {
      items.push_back({j, u});
      total += jobs[j].size(u);
    }
  const std::size_t first =
      items.size() * static_cast<std::size_t>(request.task.index) / static_cast<std::size_t>(request.task.count);
  std::rotate(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(first), items.end());
  std::atomic<std::int64_t> done = 0;
  const auto tell = [&] { context.progress(name, done, total, unit); };
  const Status made = ordered_parallel<bool>(
      context.workers, static_cast<std::int64_t>(items.size()), request.stop,
      [&](std::int64_t i, int worker) -> Result<bool> {
        const Item item = items[static_cast<std::size_t>(i)];
        CONCLAVE_RETURN_IF_ERROR(make_unit(jobs[item.job], item.unit, worker, done));
        return true;
      },
      [](std::int64_t, bool) { return Status(); }, tell);
  CONCLAVE_RETURN_IF_ERROR(made);
  if (!items.empty()) tell();
  return {};
}

} // namespace

Status look_at(const Stage& stage, const std::string& subject, std::size_t units, std::vector<StageStatus>& survey) {
  StageStatus status;
  status.stage = stage.name();
  status.subject = subject;
  status.folder = stage.folder();
  status.complete = stage.complete();
  status.units = units;
  if (!stage.complete()) {
    const auto add = [&](const std::string& what) {
      if (const std::string owner = stage.claimed_by(what); !owner.empty())
        status.claims.push_back(what + " of " + owner);
    };
    for (std::size_t u = 0; u < units; ++u) {
      status.units_done += is_there(stage.partial() / unit_name(u));
      add(unit_name(u));
    }
    add(whole);
    status.holder = stage.holder().value_or("");
  }
  survey.push_back(std::move(status));
  return {};
}

Status make_units(const StageContext& context, const char* name, const char* unit, std::vector<UnitJob>& jobs) {
  // Locks are taken in the order of their keys, so that two processes never wait for each other.
  std::map<std::string, std::size_t> makers;
  for (std::size_t j = 0; j < jobs.size(); ++j) makers.try_emplace(jobs[j].key, j);
  for (const auto& [key, j] : makers) {
    CONCLAVE_ASSIGN(jobs[j].stage, context.open(name, key));
  }
  std::vector<std::size_t> open; // jobs whose stage is to be made
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    if (makers.at(jobs[j].key) != j) continue;
    if (context.survey != nullptr)
      CONCLAVE_RETURN_IF_ERROR(look_at(*jobs[j].stage, jobs[j].subject, jobs[j].units, *context.survey));
    if (!jobs[j].stage->complete()) open.push_back(j);
  }
  if (context.survey != nullptr && !open.empty()) return survey_ends();

  if (context.request->task.alone())
    for (const std::size_t j : open) CONCLAVE_RETURN_IF_ERROR(drop_damaged_units(jobs[j]));
  while (!open.empty()) {
    CONCLAVE_RETURN_IF_ERROR(make_missing(context, name, unit, jobs, open));
    for (const std::size_t j : open) CONCLAVE_RETURN_IF_ERROR(try_to_join(context, jobs[j]));
    std::erase_if(open, [&](std::size_t j) { return jobs[j].stage->complete(); });
    if (!open.empty()) CONCLAVE_RETURN_IF_ERROR(wait_for_work(context, jobs[open.front()]));
  }
  for (UnitJob& job : jobs)
    if (!job.stage) {
      CONCLAVE_ASSIGN(job.stage, Stage::find(context.request->cache, name, job.key));
    }
  return {};
}

Result<Stage> make_whole(const StageContext& context, const char* name, const std::string& key,
                         const std::function<Result<StageOutput>(const fs::path& directory)>& make) {
  const PrepareRequest& request = *context.request;
  CONCLAVE_ASSIGN(Stage stage, context.open(name, key));
  if (context.survey != nullptr) {
    CONCLAVE_RETURN_IF_ERROR(look_at(stage, "", 1, *context.survey));
    if (!stage.complete()) return survey_ends();
  }
  while (!stage.complete()) {
    CONCLAVE_ASSIGN(const auto claim, Claim::take(stage, whole));
    CONCLAVE_RETURN_IF_ERROR(stage.adopt());
    if (stage.complete()) break;
    if (claim) {
      if (!request.task.alone()) CONCLAVE_RETURN_IF_ERROR(stage.begin());
      CONCLAVE_ASSIGN(StageOutput output, make(stage.directory()));
      CONCLAVE_RETURN_IF_ERROR(stage.commit(std::move(output.files), std::move(output.facts)));
      break;
    }
    std::string owner;
    const Status waited = wait_until(
        [&]() -> Result<bool> {
          owner = stage.claimed_by(whole);
          CONCLAVE_RETURN_IF_ERROR(stage.adopt());
          return stage.complete() || owner.empty();
        },
        request.stop, request.notice, [&] { return waiting_text(stage, whole + (" of " + owner)); });
    CONCLAVE_RETURN_IF_ERROR(waited);
  }
  return stage;
}

} // namespace conclave::data
