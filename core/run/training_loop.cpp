// The steps of a run.

#include "run/training_loop.hpp"

#include <chrono>
#include <numeric>
#include <optional>

#include "launch/host_waits.hpp"
#include "plugin/guard.hpp"
#include "run/step_record.hpp"

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char loop_state[] = "loop"; // the owner's name in a checkpoint

class Loop {
 public:
  explicit Loop(const LoopInput& input)
      : in_(input),
        step_(input.first_step),
        saved_(input.first_step),
        skipped_in_row_(input.skipped_in_row),
        sent_(sent_by_group(input.groups)) {}

  Result<LoopOutcome> run() {
    const TrainSection& train = in_.experiment->train;
    const std::int64_t end =
        in_.stop_after > 0 ? std::min<std::int64_t>(in_.stop_after, train.steps) : std::int64_t{train.steps};
    if (step_ >= end)
      in_.log->warning("nothing is left to do: " + std::to_string(step_) + " steps are done, the end is step " +
                       std::to_string(end));
    const auto loader = data::make_loader(in_.plan, step_, 1, 4);
    while (step_ < end) {
      if (in_.stop.stop_requested()) {
        if (in_.alone) return stopped();
        in_.engine->request_stop();
      }
      CONCLAVE_RETURN_IF_ERROR(one_step(*loader));
      if (stop_agreed_) return stopped();
      if (skipped_in_row_ >= train.max_skipped) {
        // The weights are those of the last applied update: worth keeping.
        CONCLAVE_RETURN_IF_ERROR(save_if_new());
        return ended(Code::training_failed,
                     std::to_string(skipped_in_row_) + " steps in a row had a gradient that was not finite or above " +
                         std::to_string(train.grad_norm_limit) +
                         "; lower the learning rate, look at the data of these batches, or raise train.max_skipped");
      }
      const std::int64_t every = in_.experiment->evaluate.every;
      // The last step's evaluation comes below; that of --stop-after's belongs to the run, which goes on later.
      if (every > 0 && step_ % every == 0 && step_ < train.steps) CONCLAVE_RETURN_IF_ERROR(evaluate());
      CONCLAVE_ASSIGN(const bool save_now, due());
      if (save_now) CONCLAVE_RETURN_IF_ERROR(save());
    }
    if (step_ == train.steps) CONCLAVE_RETURN_IF_ERROR(evaluate());
    CONCLAVE_RETURN_IF_ERROR(save_if_new());
    LoopOutcome outcome =
        ended(Code::internal,
              step_ < train.steps ? "stopped after step " + std::to_string(step_) + " (--stop-after)" : "done");
    outcome.finished = true;
    return outcome;
  }

 private:
  Result<LoopOutcome> stopped() {
    CONCLAVE_RETURN_IF_ERROR(save_if_new());
    const std::string by = in_.stop.stop_requested() ? in_.stop_reason() : "a signal to another rank";
    return ended(Code::stopped, "stopped by " + by + " after step " + std::to_string(step_));
  }

  LoopOutcome ended(Code code, std::string reason) {
    LoopOutcome outcome;
    outcome.step = step_;
    outcome.code = code;
    outcome.reason = std::move(reason);
    outcome.last_evaluation = std::move(last_evaluation_);
    return outcome;
  }

  Status one_step(data::Loader& loader) {
    const auto begin = Clock::now();
    in_.trace->enter_step(step_, step_ - in_.first_step);
    data::HostStep batch;
    {
      const auto span = in_.trace->span("load");
      CONCLAVE_ASSIGN(batch, loader.next());
    }
    const auto loaded = Clock::now();
    StepResult result;
    {
      const auto span = in_.trace->span("step");
      // The second step of an attempt tells: in the first, caches and workspaces are made.
      std::optional<HostWaits> waits;
      if (step_ == in_.first_step + 1) waits.emplace();
      CONCLAVE_ASSIGN(result, in_.engine->step(batch));
      if (waits && waits->count())
        in_.log->info("in step " + std::to_string(step_ + 1) + " the host waited " + std::to_string(*waits->count()) +
                      " times for the GPU; once is needed to read the metrics");
    }
    ++step_;
    if (in_.reached != nullptr) *in_.reached = step_;
    stop_agreed_ = result.stop;
    if (in_.stepped) in_.stepped(step_, result);
    skipped_in_row_ = result.applied ? 0 : skipped_in_row_ + 1;
    if (!result.applied)
      in_.log->warning("step " + std::to_string(step_) + ": gradient norm " + std::to_string(result.grad_norm) +
                       (result.finite ? " is above the limit" : " is not finite") + ", nothing was applied");
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    const double waited = std::chrono::duration<double>(loaded - begin).count();
    in_.observer->post(describe(batch, result, seconds, waited));
    return {};
  }

  StepReport describe(const data::HostStep& batch, const StepResult& result, double seconds, double waited) {
    StepReport report;
    report.step = step_;
    report.attempt = in_.attempt;
    auto add = [&report](std::string name, std::string unit, double value, Reduction reduction = Reduction::mean,
                         std::vector<std::pair<std::string, std::string>> labels = {}) {
      report.metrics.push_back({std::move(name), std::move(unit), value, reduction, std::move(labels)});
    };
    const auto tokens = static_cast<double>(batch.global_loss_tokens);
    add("loss", "nats", result.loss);
    add("nll", "nats", result.nll);
    add("learning_rate", "", result.learning_rate, Reduction::none);
    add("grad_norm", "", result.grad_norm, Reduction::none);
    add("tokens", "tokens", tokens, Reduction::sum);
    add("tokens_per_second", "tokens", tokens / seconds, Reduction::sum);
    add("step_seconds", "seconds", seconds, Reduction::max);
    add("data_wait_seconds", "seconds", waited, Reduction::max);
    const std::int64_t inputs =
        std::accumulate(batch.domain_tokens.begin(), batch.domain_tokens.end(), std::int64_t{0});
    add("padding_share", "", 1 - static_cast<double>(inputs) / static_cast<double>(batch.global_places),
        Reduction::none);
    add("applied", "", result.applied ? 1 : 0, Reduction::min);
    add("loss_scale", "", result.loss_scale, Reduction::none);
    add("dropped_tokens", "tokens", 0, Reduction::sum); // dropless by construction
    for (const auto& [name, value] : result.losses) add("local_loss", "nats", value, Reduction::mean, {{"loss", name}});
    for (std::size_t domain = 0; domain < batch.domain_sequences.size(); ++domain)
      add("domain_share", "",
          static_cast<double>(batch.domain_sequences[domain]) / static_cast<double>(batch.global_sequences),
          Reduction::none, {{"domain", in_.store->domain_name(domain)}});
    for (const auto& counter : result.counters)
      for (std::size_t element = 0; element < counter.values.size(); ++element)
        add(counter.name, "tokens", counter.values[element], Reduction::sum,
            {{"layer", std::to_string(counter.layer)}, {"expert", std::to_string(element)}});
    for (auto& [group, traffic] : sent_by_group(in_.groups)) {
      Traffic now = traffic;
      now -= sent_[group]; // of this step
      sent_[group] = traffic;
      for (std::size_t kind = 0; kind < collective_count; ++kind)
        if (now.calls[kind] > 0)
          add("sent_bytes", "bytes", now.bytes[kind], Reduction::none,
              {{"group", group}, {"collective", to_string(static_cast<Collective>(kind))}});
    }
    for (auto& extra : in_.metrics->take()) report.metrics.push_back(std::move(extra));
    return report;
  }

  Status evaluate() {
    if (in_.evaluation == nullptr || !in_.evaluation->possible()) return {};
    const auto span = in_.trace->span("evaluate");
    CONCLAVE_ASSIGN(last_evaluation_, in_.evaluation->run(*in_.engine, step_, in_.attempt));
    in_.observer->post(last_evaluation_);
    return {};
  }

  Result<bool> due() {
    if (in_.policy == nullptr) return false;
    return guard(in_.policy_id.c_str(), "due", [&] { return in_.policy->due(step_, in_.experiment->train.steps); });
  }

  Status save() {
    const auto span = in_.trace->span("checkpoint");
    Snapshot snapshot;
    snapshot.step = step_;
    snapshot.meta_json = in_.meta_json;
    snapshot.files = in_.files;
    CONCLAVE_RETURN_IF_ERROR(in_.engine->snapshot(snapshot));
    for (const StatefulPlugin& plugin : in_.stateful)
      CONCLAVE_RETURN_IF_ERROR(
          guard(plugin.id.c_str(), "save", [&] { plugin.state->save(snapshot.states[plugin.key]); }));
    snapshot.states[loop_state]["skipped_in_row"] = std::int64_t{skipped_in_row_};
    saved_ = step_;
    return in_.checkpoints->save(std::move(snapshot));
  }

  /// Saves the current step unless it has just been, and waits until it is committed.
  Status save_if_new() {
    if (saved_ != step_) CONCLAVE_RETURN_IF_ERROR(save());
    return in_.checkpoints->wait();
  }

  const LoopInput& in_;
  std::int64_t step_, saved_;
  int skipped_in_row_;
  bool stop_agreed_ = false;
  SentByGroup sent_; ///< up to the last report
  EvaluationReport last_evaluation_;
};

} // namespace

int skipped_in_row(const CheckpointReader& reader) {
  const auto loop = reader.states().find(loop_state);
  if (loop == reader.states().end()) return 0;
  const auto skipped = loop->second.find("skipped_in_row");
  if (skipped == loop->second.end()) return 0;
  const auto* count = std::get_if<std::int64_t>(&skipped->second);
  return count != nullptr ? static_cast<int>(*count) : 0;
}

Result<LoopOutcome> run_training_loop(const LoopInput& input) { return Loop(input).run(); }

} // namespace conclave
