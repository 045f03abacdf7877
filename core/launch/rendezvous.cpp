// Joining, step by step, so that each thing that can be wrong is found by the step that can name it.

#include "launch/rendezvous.hpp"

#include <unistd.h>

#include <array>
#include <future>
#include <thread>

namespace conclave {
namespace {

using std::chrono::milliseconds;

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

constexpr const char* main_part = "main";

std::string prefix_of(const std::string& id, const std::string& part) { return "conclave/" + id + "/" + part + "/"; }

constexpr milliseconds farewell{2500}; ///< for the others to read why a meeting came to nothing, once a second

} // namespace

std::string rendezvous_prefix(const std::string& id) { return prefix_of(id, main_part); }

Rendezvous::~Rendezvous() = default;

const std::string& Rendezvous::store_host() const noexcept { return exchange_->store().host(); }

Result<std::unique_ptr<Store>> Rendezvous::open(const std::string& name, milliseconds timeout) const {
  return Store::connect(settings_.address, prefix_of(settings_.id, name), timeout);
}

Result<std::unique_ptr<Rendezvous>> Rendezvous::join(RendezvousSettings settings) {
  // A stopped process still accepts connections and then says nothing: what waits for it is left behind.
  const milliseconds limit = 3 * settings.timeout + std::chrono::seconds(10);
  const std::string where = settings.address.text();
  auto outcome = std::make_shared<std::promise<Result<std::unique_ptr<Rendezvous>>>>();
  auto future = outcome->get_future();
  std::thread joining([outcome, settings = std::move(settings)]() mutable {
    std::unique_ptr<Rendezvous> self(new Rendezvous(std::move(settings)));
    const Status met = self->meet();
    if (met.ok()) return outcome->set_value(std::move(self));
    if (self->server_ != nullptr) std::this_thread::sleep_for(farewell);
    outcome->set_value(met.error());
  });
  if (future.wait_for(limit) != std::future_status::ready) {
    joining.detach();
    return unsupported("the rendezvous store at " + where + " takes connections and does not answer",
                       "the process that hosts it is stopped: end it and start all ranks again");
  }
  joining.join();
  return future.get();
}

Status Rendezvous::meet() {
  const RankInfo& ranks = settings_.ranks;
  if (settings_.host_store) {
    const bool remote = ranks.local_world_size < ranks.world_size;
    CONCLAVE_ASSIGN(server_, StoreServer::start(settings_.address, remote, settings_.id));
    settings_.address.port = server_->port();
  }
  auto opened = open(main_part, settings_.timeout);
  if (!opened.ok()) {
    Error error = opened.error();
    if (error.code != Code::peer_lost) return error;
    if (!settings_.hosted_by_rank_0()) return unsupported(std::move(error.what), std::move(error.fix));
    error.what = "rank 0 has not come: " + error.what;
    return error;
  }
  std::unique_ptr<Store> store = std::move(opened).value();
  const std::string again = "end what is left of the other launch, then start all ranks again";

  if (!settings_.agent_store) {
    CONCLAVE_ASSIGN(const auto launch, store->launch());
    if (launch != settings_.id)
      return unsupported("a stale rendezvous: the store at " + settings_.address.text() + " serves launch " +
                             launch.value_or("of somebody else") + ", this is launch " + settings_.id,
                         again + ", or set another MASTER_PORT");
  }
  // What one rank finds wrong ends the waiting of all.
  const auto refuse = [&](std::string what) -> Error {
    const Error error = unsupported(std::move(what), again);
    const Status told = store->set("refused", error.what);
    return told.ok() ? error : told.error();
  };
  CONCLAVE_ASSIGN(const std::int64_t worlds, store->add("worlds", 1));
  const std::string world = std::to_string(ranks.world_size);
  if (worlds == 1) CONCLAVE_RETURN_IF_ERROR(store->set("world", world));
  CONCLAVE_ASSIGN(const bool known, store->wait({"world"}, settings_.timeout));
  if (known) {
    CONCLAVE_ASSIGN(const auto first, store->get({"world"}));
    if (first.front() != world)
      return refuse("rank " + std::to_string(ranks.rank) + " was started as one of " + world +
                    " ranks, another as one of " + first.front());
  }
  CONCLAVE_ASSIGN(const std::int64_t joined, store->add("joined/" + std::to_string(ranks.rank), 1));
  if (joined > 1)
    return refuse("a stale rendezvous: rank " + std::to_string(ranks.rank) + " of launch " + settings_.id +
                  " has come " + std::to_string(joined) + " times");

  Store* const asked = store.get();
  exchange_ =
      std::make_unique<Exchange>(std::move(store), Exchange::Settings{ranks.rank, ranks.world_size, settings_.timeout,
                                                                      [this, asked, again]() -> std::optional<Error> {
                                                                        if (auto error = died()) return error;
                                                                        const auto what = asked->find("refused");
                                                                        if (!what.ok() || !*what) return std::nullopt;
                                                                        return unsupported(**what, again);
                                                                      }});
  auto hosts = exchange_->exchange("rendezvous", host_name());
  if (!hosts.ok()) { // maybe another rank's words, when it was the first to hear of a death
    if (auto error = died()) return *std::move(error);
    Error error = hosts.error();
    if (error.fix.empty())
      error.fix =
          "see what the ranks that are missing say, then start all again; ranks that start late need a longer "
          "CONCLAVE_RENDEZVOUS_TIMEOUT";
    return error;
  }
  hosts_ = std::move(hosts).value();
  return {};
}

std::optional<Error> Rendezvous::died() {
  const auto what = exchange_->store().find(died_key);
  if (!what.ok() || !*what) return std::nullopt;
  return Error{Code::peer_lost, "", **what,
               "start the run again: it goes on from its last checkpoint, if there is one"};
}

Result<std::unique_ptr<Exchange>> Rendezvous::connect(const std::string& name, milliseconds timeout) {
  auto opened = open(name, settings_.timeout);
  if (!opened.ok()) { // it was there: whoever hosts it is lost
    Error error = opened.error();
    error.code = Code::peer_lost;
    return error;
  }
  return std::make_unique<Exchange>(
      std::move(opened).value(),
      Exchange::Settings{settings_.ranks.rank, settings_.ranks.world_size, timeout, nullptr});
}

Status Rendezvous::leave() {
  CONCLAVE_RETURN_IF_ERROR(exchange_->barrier("leave"));
  CONCLAVE_ASSIGN(const std::int64_t left, exchange_->store().add("left", 1));
  if (left == settings_.ranks.world_size) return exchange_->store().set("all left", "");
  if (server_ == nullptr) return {};
  return exchange_->store().wait({"all left"}, settings_.timeout).status();
}

} // namespace conclave
