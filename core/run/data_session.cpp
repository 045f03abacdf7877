// The parts of a run that prepared data needs.

#include "run/data_session.hpp"

#include "run/assemble.hpp"

namespace conclave {

Result<std::unique_ptr<DataSession>> DataSession::open(const Experiment& experiment, bool quiet) {
  std::unique_ptr<DataSession> session(new DataSession(quiet));
  CONCLAVE_ASSIGN(session->stop_, StopSignal::install());
  HostServices::Settings services;
  services.log = &session->log_;
  services.seed = experiment.seed;
  services.phase = Phase::prepare;
  services.cache = default_cache_directory() / "plugins";
  services.scratch = default_cache_directory() / "scratch";
  services.stop = session->stop_->token();
  session->host_ = std::make_unique<HostServices>(std::move(services));
  CONCLAVE_ASSIGN(session->request_, assemble_prepare(experiment, *session->host_));
  session->request_.stop = session->stop_->token();
  return session;
}

} // namespace conclave
