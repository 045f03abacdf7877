// Two threads: one talks with the store and may be held up by it, the other judges and is not.

#include "launch/watchdog.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "launch/judge.hpp"

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds farewell{5000}; ///< for the store to take a rank's last sign, and for others to hear of it
constexpr const char* verdict_key = "verdict";
constexpr const char* heard_key = "heard";

std::string sign_key(int rank) { return "sign/" + std::to_string(rank); }

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

Error verdict_error(std::string what) {
  return {Code::peer_lost, "", std::move(what),
          "start the run again: it goes on from the last checkpoint; that rank's log may say more"};
}

/// Time that this process has been awake: a process that was stopped must not take the others for silent when it goes on.
class AwakeClock {
 public:
  explicit AwakeClock(Clock::duration longest_tick) : longest_(longest_tick) {}
  double tick() {
    const Clock::time_point now = Clock::now();
    awake_ += seconds(std::min(now - last_, longest_));
    last_ = now;
    return awake_;
  }

 private:
  Clock::duration longest_;
  Clock::time_point last_ = Clock::now();
  double awake_ = 0;
};

} // namespace

struct Watchdog::Impl : std::enable_shared_from_this<Watchdog::Impl> {
  WatchdogSettings settings;
  RankInfo ranks;
  std::string host, store_host; ///< this machine; who hosts the store, in words
  milliseconds interval{0};
  bool hosts_store = false;
  std::unique_ptr<Exchange> exchange; ///< the talker's, once the threads run
  std::atomic<std::int64_t> step{0};

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by the mutex:
  bool stop = false;           ///< the threads end
  bool broken = false;         ///< explain() was called
  std::optional<int> left;     ///< leave() was called
  std::string reason;          ///< for that
  bool last_sign_sent = false; ///< with `left` in it
  bool talker_ended = false;
  bool published = false; ///< rank 0: the verdict is in the store
  std::optional<std::string> verdict;
  std::optional<std::string> store_problem;      ///< what the talker's connection ended with
  std::uint64_t talks = 0;                       ///< rounds that the store has answered
  std::vector<std::pair<int, SignOfLife>> signs; ///< of the last round

  std::thread talker, judge;

  [[nodiscard]] bool leads() const { return ranks.rank == 0; }

  SignOfLife own_sign(std::uint64_t number) {
    SignOfLife sign;
    sign.number = number;
    sign.host = host;
    sign.process = ::getpid();
    sign.step = step;
    if (settings.doing) sign.doing = settings.doing();
    if (settings.board) {
      const OperationBoard::Picture picture = settings.board->picture();
      for (const auto& sequence : picture.sequences)
        sign.issued[sequence_key(sequence.name, sequence.ranks)] = sequence.issued;
      if (picture.wait) {
        const auto& sequence = picture.sequences[picture.wait->sequence];
        sign.wait = SignOfLife::Wait{sequence.name, sequence.ranks, picture.wait->operation, picture.wait->number,
                                     seconds(Clock::now() - picture.wait->since)};
      }
    }
    const std::scoped_lock lock(mutex);
    sign.broken = broken;
    sign.left = left;
    sign.reason = reason;
    return sign;
  }

  // ---- talker

  void talk() {
    for (std::uint64_t number = 1;; ++number) {
      const Status status = talk_once(number);
      std::unique_lock lock(mutex);
      if (!status.ok()) store_problem = status.error().what;
      changed.notify_all();
      if (!status.ok() || stop || last_sign_sent) break;
      const bool was_broken = broken, had_left = left.has_value(), had_verdict = verdict.has_value();
      changed.wait_for(lock, interval, [&] {
        return stop || broken != was_broken || left.has_value() != had_left || verdict.has_value() != had_verdict;
      });
    }
    const std::scoped_lock lock(mutex);
    talker_ended = true;
    changed.notify_all();
  }

  Status talk_once(std::uint64_t number) {
    Store& store = exchange->store();
    const SignOfLife own = own_sign(number);
    CONCLAVE_RETURN_IF_ERROR(store.set(sign_key(ranks.rank), own.encode()));
    std::vector<std::string> keys;
    for (int rank = 0; rank < (leads() ? ranks.world_size : 1); ++rank) keys.push_back(sign_key(rank));
    CONCLAVE_ASSIGN(const std::vector<std::string> texts, store.get(keys));
    std::vector<std::pair<int, SignOfLife>> decoded;
    for (std::size_t rank = 0; rank < texts.size(); ++rank)
      if (auto sign = SignOfLife::decode(texts[rank])) decoded.emplace_back(static_cast<int>(rank), *std::move(sign));
    CONCLAVE_RETURN_IF_ERROR(leads() ? publish(store) : listen(store));
    const std::scoped_lock lock(mutex);
    signs = std::move(decoded);
    ++talks;
    last_sign_sent = own.left.has_value();
    return {};
  }

  Status publish(Store& store) {
    std::optional<std::string> text;
    {
      const std::scoped_lock lock(mutex);
      if (!published) text = verdict;
    }
    if (!text) return {};
    CONCLAVE_RETURN_IF_ERROR(store.set(verdict_key, *text));
    const std::scoped_lock lock(mutex);
    published = true;
    return {};
  }

  Status listen(Store& store) {
    CONCLAVE_ASSIGN(auto text, store.find(verdict_key));
    if (!text) return {};
    {
      const std::scoped_lock lock(mutex);
      if (published) return {}; // heard before
      published = true;
      verdict = *std::move(text);
    }
    return store.add(heard_key, 1).status();
  }

  // ---- judge

  void judge_all() {
    Judge judge({seconds(settings.lost_after), seconds(settings.timeout)}, ranks.world_size);
    // For the ranks, time passes with the store's answers: while it is silent, so is everybody.
    AwakeClock clock(4 * interval), rounds(4 * interval);
    std::uint64_t talks_seen = 0;
    double answered = 0;
    std::unique_lock lock(mutex);
    while (!stop && !left && !verdict) {
      const double now = clock.tick();
      if (talks != talks_seen) {
        talks_seen = talks;
        answered = now;
        const double round = rounds.tick();
        for (const auto& [rank, sign] : signs) judge.see(rank, sign, round);
        verdict = judge.verdict(round, leads());
      }
      const std::string last = leads() || !store_host.starts_with("rank 0") ? "" : "; " + judge.describe(0);
      if (!verdict && store_problem) verdict = store_host + " is gone: " + *store_problem + last;
      if (!verdict && now - answered > seconds(settings.lost_after))
        verdict = store_host + " has not answered for " + seconds_text(settings.lost_after) + last;
      if (!verdict) changed.wait_for(lock, interval, [&] { return stop || left || verdict || store_problem; });
    }
    if (!verdict || left) return;
    changed.notify_all();
    // The others first: what on_verdict does may end this process.
    if (leads()) changed.wait_for(lock, farewell, [this] { return published || talker_ended || stop; });
    const Error error = verdict_error(*verdict);
    lock.unlock();
    if (settings.on_verdict) settings.on_verdict(error);
  }
};

Watchdog::Watchdog(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Watchdog>> Watchdog::start(Rendezvous& rendezvous, WatchdogSettings settings) {
  auto impl = std::make_shared<Impl>();
  impl->settings = std::move(settings);
  impl->ranks = rendezvous.settings().ranks;
  impl->host = rendezvous.hosts()[static_cast<std::size_t>(impl->ranks.rank)];
  impl->hosts_store = rendezvous.settings().host_store;
  impl->store_host = rendezvous.settings().hosted_by_rank_0() ? "rank 0 (host " + rendezvous.hosts().front() + ")"
                     : rendezvous.settings().agent_store ? "the launcher's agent, which hosts the rendezvous store,"
                                                         : "the process that supervises the ranks";
  // Several signs in the time after which a rank counts as lost.
  impl->interval = std::clamp(impl->settings.lost_after / 10, milliseconds(10), milliseconds(1000));
  CONCLAVE_ASSIGN(impl->exchange, rendezvous.connect("watchdog", rendezvous.settings().timeout));
  CONCLAVE_RETURN_IF_ERROR(impl->exchange->store().set(sign_key(impl->ranks.rank), impl->own_sign(0).encode()));
  impl->exchange->set_interrupted([&rendezvous] { return rendezvous.died(); });
  CONCLAVE_RETURN_IF_ERROR(impl->exchange->barrier("start"));
  impl->exchange->set_interrupted(nullptr);
  impl->talker = std::thread([impl] { impl->talk(); });
  impl->judge = std::thread([impl] { impl->judge_all(); });
  return std::unique_ptr<Watchdog>(new Watchdog(std::move(impl)));
}

Watchdog::~Watchdog() {
  {
    std::unique_lock lock(impl_->mutex);
    impl_->stop = true;
    impl_->changed.notify_all();
    // A store that does not answer keeps its thread, which then owns what it needs.
    impl_->changed.wait_for(lock, farewell, [this] { return impl_->talker_ended; });
    if (!impl_->talker_ended) impl_->talker.detach();
  }
  if (impl_->talker.joinable()) impl_->talker.join();
  if (impl_->judge.joinable()) impl_->judge.join();
}

void Watchdog::set_step(std::int64_t step) noexcept { impl_->step = step; }

std::optional<Error> Watchdog::verdict() const {
  const std::scoped_lock lock(impl_->mutex);
  if (!impl_->verdict) return std::nullopt;
  return verdict_error(*impl_->verdict);
}

Error Watchdog::explain(Error error) {
  if (error.code != Code::peer_lost) return error;
  std::unique_lock lock(impl_->mutex);
  impl_->broken = true;
  impl_->changed.notify_all();
  impl_->changed.wait_for(lock, impl_->settings.lost_after + 4 * impl_->interval,
                          [this] { return impl_->verdict || impl_->stop || impl_->left; });
  return impl_->verdict ? verdict_error(*impl_->verdict) : error;
}

void Watchdog::leave(int exit_code, const std::string& reason) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->left) return;
  const bool well = exit_code == 0 || exit_code == conclave::exit_code(Code::stopped);
  impl_->left = exit_code;
  impl_->reason = reason;
  if (!well && impl_->leads() && !impl_->verdict)
    impl_->verdict = "rank 0 (host " + impl_->host + ", process " + std::to_string(::getpid()) +
                     ") ended with exit code " + std::to_string(exit_code) + " in step " + std::to_string(impl_->step) +
                     ": " + reason;
  impl_->changed.notify_all();
  impl_->changed.wait_for(lock, farewell, [this] { return impl_->last_sign_sent || impl_->talker_ended; });
  if (well || !impl_->hosts_store || !impl_->talker_ended || impl_->store_problem) return;
  lock.unlock();
  // The talker has ended: its connection is free.
  const Clock::time_point deadline = Clock::now() + farewell;
  while (Clock::now() < deadline) {
    const auto heard = impl_->exchange->store().add(heard_key, 0);
    if (!heard.ok() || *heard >= impl_->ranks.world_size - 1) return;
    std::this_thread::sleep_for(impl_->interval);
  }
}

} // namespace conclave
