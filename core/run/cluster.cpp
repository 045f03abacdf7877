// Rendezvous, watchdog and groups of one run, in the order in which they are made and ended.

#include "run/cluster.hpp"

#include <unistd.h>

#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "launch/groups.hpp"
#include "launch/rendezvous.hpp"
#include "launch/watchdog.hpp"
#include "plugin/guard.hpp"
#include "run/rendezvous_peers.hpp"

namespace conclave {
namespace {

/// How long the step thread may take to come back by itself once another rank is lost: long enough for a broken collective
/// to be noticed and for the end of a run to be written down, short against a launcher's patience.
constexpr std::chrono::seconds time_to_come_back{5};
/// How long a rank that ends badly may take for its last words: a disk or a store that does not answer may never let it go.
constexpr std::chrono::seconds time_to_end{60};

std::chrono::milliseconds milliseconds(std::chrono::duration<double> time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time);
}

} // namespace

struct Cluster::Impl {
  std::unique_ptr<Rendezvous> rendezvous;
  std::shared_ptr<OperationBoard> board = std::make_shared<OperationBoard>();
  std::unique_ptr<Exchange> exchange; ///< without a time limit: preparing data may take hours
  std::unique_ptr<RendezvousPeers> peers;
  std::atomic<bool> leaving{false}; ///< this rank will answer nobody any more
  bool left_well = false;
  std::mutex end_mutex; ///< of whoever ends the run: the step thread or the watchdog
  std::condition_variable end_began;
  bool ending = false;                ///< the step thread does; under end_mutex
  std::unique_ptr<Watchdog> watchdog; // first to end: it looks at the rest

  std::optional<Error> interrupted() const {
    if (leaving) return Error{Code::peer_lost, "", "this rank ends", ""};
    return watchdog != nullptr ? watchdog->verdict() : std::nullopt;
  }
};

Cluster::Cluster(Settings settings) : settings_(std::move(settings)), impl_(std::make_unique<Impl>()) {}

Cluster::~Cluster() { begin_end(); }

Result<std::unique_ptr<Cluster>> Cluster::join(Settings settings) {
  std::unique_ptr<Cluster> self(new Cluster(std::move(settings)));
  if (self->alone()) return self;
  Impl& impl = *self->impl_;
  impl.board->set_span_hook(self->settings_.span);
  CONCLAVE_ASSIGN(
      RendezvousSettings meeting,
      resolve_rendezvous(self->settings_.ranks, [](const char* name) -> const char* { return std::getenv(name); }));
  CONCLAVE_ASSIGN(impl.rendezvous, Rendezvous::join(std::move(meeting)));
  CONCLAVE_ASSIGN(impl.exchange, impl.rendezvous->connect("run", std::chrono::milliseconds(0)));
  const auto interrupted = [&impl] { return impl.interrupted(); };
  impl.exchange->set_interrupted(interrupted);
  impl.peers = std::make_unique<RendezvousPeers>(*impl.rendezvous, interrupted);

  WatchdogSettings watch;
  watch.lost_after = milliseconds(self->settings_.lost_after);
  watch.timeout = milliseconds(self->settings_.timeout);
  watch.board = impl.board;
  watch.doing = [crumb = &current_breadcrumb()]() -> std::string {
    const char *plugin = crumb->plugin, *call = crumb->call;
    if (plugin == nullptr) return "";
    return std::string("plugin ") + plugin + (call != nullptr ? std::string(", ") + call : "");
  };
  watch.on_verdict = [&impl, give_up = self->settings_.give_up](const Error& verdict) {
    // The step thread may be in a collective that never ends. Whoever is not back in time is left where it is.
    std::unique_lock lock(impl.end_mutex); // kept to the end: a step thread that comes back now has nothing to say
    if (impl.end_began.wait_for(lock, time_to_come_back, [&impl] { return impl.ending; })) return;
    if (give_up) give_up(verdict);
    _exit(exit_code(verdict.code));
  };
  CONCLAVE_ASSIGN(impl.watchdog, Watchdog::start(*impl.rendezvous, std::move(watch)));
  return self;
}

Status Cluster::agree(const std::string& what, const std::string& text) {
  return alone() ? Status{} : impl_->exchange->agree(what, text);
}

Result<std::string> Cluster::broadcast(const std::string& key, const std::string& text) {
  if (alone()) return text;
  return impl_->exchange->broadcast(key, text);
}

Result<std::vector<std::string>> Cluster::exchange(const std::string& key, const std::string& text) {
  if (alone()) return std::vector<std::string>{text};
  return impl_->exchange->exchange(key, text);
}

Status Cluster::all_well(const std::string& key, const Status& own) {
  if (alone()) return own;
  // "" or the code, a space, and the text.
  const std::string said =
      own.ok() ? "" : std::to_string(static_cast<int>(own.error().code)) + " " + own.error().render();
  const auto all = impl_->exchange->exchange(key, said);
  if (!own.ok()) return own;
  if (!all.ok()) return all.error();
  for (std::size_t rank = 0; rank < all->size(); ++rank) {
    const std::string& text = (*all)[rank];
    if (text.empty()) continue;
    int code = 0;
    const std::size_t space = text.find(' ');
    std::from_chars(text.data(), text.data() + space, code);
    return Error{static_cast<Code>(code), "rank " + std::to_string(rank), text.substr(space + 1), ""};
  }
  return {};
}

Result<std::shared_ptr<Groups>> Cluster::make_groups(const Device& device) {
  if (alone()) return std::shared_ptr<Groups>();
  // The watchdog is to be the first to know.
  const auto timeout = milliseconds(settings_.timeout + settings_.lost_after + time_to_come_back);
  return conclave::make_groups(*impl_->rendezvous, settings_.mesh, settings_.ranks, device, timeout, impl_->board);
}

Peers* Cluster::checkpoint_peers() { return impl_->peers.get(); }

void Cluster::set_step(std::int64_t step) {
  if (impl_->watchdog != nullptr) impl_->watchdog->set_step(step);
}

Error Cluster::explain(Error error) {
  return impl_->watchdog != nullptr ? impl_->watchdog->explain(std::move(error)) : error;
}

void Cluster::begin_end() {
  const std::scoped_lock lock(impl_->end_mutex);
  impl_->ending = true;
  impl_->end_began.notify_all();
}

void Cluster::leave(int code, const std::string& reason) {
  const bool good = code == 0 || code == exit_code(Code::stopped);
  if (alone() || impl_->leaving.exchange(!good)) return;
  if (!good)
    std::thread([code] {
      std::this_thread::sleep_for(time_to_end);
      _exit(code);
    }).detach();
  impl_->watchdog->leave(code, reason);
  if (!good || std::exchange(impl_->left_well, true)) return;
  if (const Status left = impl_->rendezvous->leave(); !left.ok() && settings_.log != nullptr)
    settings_.log->warning("at the end: " + left.error().render());
}

} // namespace conclave
