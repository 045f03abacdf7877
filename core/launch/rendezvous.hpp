// Rendezvous: the ranks of a launch find each other.
//
// A launcher gives each rank the address of a store and an id of the launch; where no agent of the launcher hosts the store,
// rank 0 does. Joining finds out what would otherwise end in a silence. Code::unsupported, exit 3: a port that is taken, no
// store at the launcher's address, the store of another launch, a rank number that two processes have, worlds of different
// sizes. Code::peer_lost, exit 76: ranks that do not come in time, or are gone before all have met; every other rank names
// them.
//
// Threading: the step thread. Other threads get an exchange of their own from connect(), which any thread may call.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "launch/exchange.hpp"
#include "launch/ranks.hpp"
#include "launch/store.hpp"

namespace conclave {

struct RendezvousSettings {
  RankInfo ranks;
  StoreAddress address;
  std::string id;           ///< of this launch: a restart has another one
  bool host_store = false;  ///< this rank hosts the store
  bool agent_store = false; ///< an agent of the launcher hosts it, for one launch after another (torchrun)
  /// For rank 0 to wait for the last rank, and for each exchange; for the others to wait for the store.
  std::chrono::milliseconds timeout{std::chrono::minutes(5)};

  /// Else the supervisor or the launcher's agent does.
  [[nodiscard]] bool hosted_by_rank_0() const { return ranks.launcher != "conclave" && !agent_store; }
};

/// From the launcher's variables:
///   torchrun  MASTER_ADDR, MASTER_PORT: its agent hosts the store (or rank 0, where TORCHELASTIC_USE_AGENT_STORE says so);
///             the id is TORCHELASTIC_RUN_ID with the restart's number
///   srun      address CONCLAVE_MASTER_ADDR, else MASTER_ADDR, else the first host of SLURM_STEP_NODELIST; port MASTER_PORT,
///             else one from the job's and step's number; the id is job.step with the restart's number
///   mpirun    MASTER_ADDR, not needed when all ranks are on this machine; port MASTER_PORT, else one from the job's number
///   conclave  MASTER_ADDR, MASTER_PORT, CONCLAVE_RENDEZVOUS_ID, from supervise()
/// CONCLAVE_RENDEZVOUS_TIMEOUT (seconds) sets the timeout. One rank has nobody to meet: its settings are never used.
Result<RendezvousSettings> resolve_rendezvous(const RankInfo& ranks, const EnvironmentLookup& get);

/// Whoever watches over processes of the ranks may set it, in the store's part rendezvous_prefix(id), to what happened to one
/// that ended badly: ranks that still wait for it then end with 76.
inline constexpr const char* died_key = "died";
std::string rendezvous_prefix(const std::string& id);

class Rendezvous {
 public:
  /// Returns when every rank has come. Collective. Takes three times the timeout and a little at most,
  /// whatever the others do.
  static Result<std::unique_ptr<Rendezvous>> join(RendezvousSettings settings);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  [[nodiscard]] const RendezvousSettings& settings() const noexcept { return settings_; }
  /// The numeric address of the store, as this rank reaches it.
  [[nodiscard]] const std::string& store_host() const noexcept;
  /// The machine of each rank, in rank order.
  [[nodiscard]] const std::vector<std::string>& hosts() const noexcept { return hosts_; }

  /// The step thread's exchange, with the settings' timeout, and shorthands for it.
  [[nodiscard]] Exchange& exchange() noexcept { return *exchange_; }
  Result<std::vector<std::string>> exchange(const std::string& key, const std::string& text) {
    return exchange_->exchange(key, text);
  }
  Result<std::string> broadcast(const std::string& key, const std::string& text) {
    return exchange_->broadcast(key, text);
  }
  Status barrier(const std::string& key) { return exchange_->barrier(key); }
  Status agree(const std::string& what, const std::string& text) { return exchange_->agree(what, text); }

  /// What died_key says, if it is there.
  [[nodiscard]] std::optional<Error> died();

  /// Another connection to the store; Code::peer_lost when there is none to be had. `name` is the same on every rank and different for each use. `timeout` is of each
  /// call; 0: as long as it takes. Any thread.
  Result<std::unique_ptr<Exchange>> connect(const std::string& name, std::chrono::milliseconds timeout);

  /// A good end: returns when every rank has called it, on the rank that hosts the store when nobody needs that any more.
  /// Collective. Every group and connection is out of use by then; they may be destroyed afterwards.
  Status leave();

 private:
  explicit Rendezvous(RendezvousSettings settings) : settings_(std::move(settings)) {}
  Status meet();
  Result<std::unique_ptr<Store>> open(const std::string& name, std::chrono::milliseconds timeout) const;

  RendezvousSettings settings_;
  std::unique_ptr<StoreServer> server_; // after the connections, so that it outlives them
  std::unique_ptr<Exchange> exchange_;
  std::vector<std::string> hosts_;
};

} // namespace conclave
