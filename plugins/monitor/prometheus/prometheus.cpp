// What each metric of a report is called, and the endpoint's start.

#include "prometheus.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <thread>

#include "conclave/signal_mask.hpp"

namespace conclave::prometheus_monitor {
namespace {

constexpr int ports_after = 15; ///< that are tried when the wanted one is in use
constexpr int last_port = 65535;
constexpr std::chrono::seconds between_disk_questions{10};
constexpr std::size_t remembered_steps = 10'000; ///< a checkpoint that takes longer to write has no duration
const std::vector<double> step_seconds_bounds = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool ends_with(const std::string& name, const std::string& end) { return !end.empty() && name.ends_with("_" + end); }

/// `conclave_<name>`, with the unit as Prometheus wants it: at the end, once. A rate (`bits_per_byte`) names its own.
std::string default_name(const Metric& metric) {
  const std::string name = clean_name(metric.name), unit = clean_name(metric.unit);
  return "conclave_" + name +
         (metric.unit.empty() || ends_with(name, unit) || name == unit || name.find("_per_") != std::string::npos
              ? ""
              : "_" + unit);
}

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("listen", &Options::listen)
      .affects(Affects::io)
      .doc(
          "Address and port; port 0 takes a free one. The endpoint has no password: keep it on 127.0.0.1 unless the "
          "network is trusted.")
      .choice("placement", &Options::placement,
              {{"global", Placement::global}, {"node", Placement::node}, {"rank", Placement::rank}})
      .affects(Affects::io)
      .doc(
          "One endpoint for the run, one on each machine, or one on every rank; the last two at the port plus the "
          "rank's number on its machine, with the rank as a label of every series.")
      .choice("on_conflict", &Options::on_conflict,
              {{"auto", OnConflict::automatic}, {"error", OnConflict::error}, {"next", OnConflict::next}})
      .affects(Affects::io)
      .doc(
          "When the port is in use: end the run, or take the first free one of the 15 after it. auto: error where the "
          "run has one endpoint, else next.")
      .opt("targets_file", &Options::targets_file)
      .affects(Affects::io)
      .doc(
          "Tell a Prometheus server of each endpoint in a file for its file_sd_configs, removed at the end: "
          "`<targets_file>.<rank>.json`, relative to the run directory.")
      .opt("announce", &Options::announce)
      .affects(Affects::io)
      .doc(
          "Host name or address that target files give; without it, the address of `listen`, or the machine's name "
          "where that is 0.0.0.0 or [::].")
      .opt("short_names", &Options::short_names)
      .affects(Affects::io)
      .doc(
          "Also export `tokens_per_sec`, a name that promtool's style check refuses; `conclave_tokens_per_second` is "
          "always there.")
      .opt("experts", &Options::experts)
      .affects(Affects::io)
      .doc("Export the load of each expert: one series for every layer and expert.")
      .opt("max_series", &Options::max_series)
      .at_least(100)
      .affects(Affects::io)
      .doc("Series that are made at most; more are left out with a warning.")
      .validate([](const Options& options, OptionReport& report) {
        const auto endpoint = parse_endpoint(options.listen);
        if (!endpoint.ok())
          report.error("listen", endpoint.error().what, endpoint.error().fix);
        else if (!endpoint->is_loopback())
          report.hint("listen", "the endpoint has no password and will be open to " + endpoint->host,
                      "listen on 127.0.0.1 unless the network is trusted");
        if (options.targets_file.ends_with('/'))
          report.error("targets_file", "expected a file's name, not a folder", "add a name: prometheus/targets");
        if (options.announce.empty()) return;
        if (!is_host(options.announce))
          report.error("announce", "'" + options.announce + "' is no host name or numeric address",
                       "leave out the port, the scheme and brackets");
        else if (options.targets_file.empty())
          report.hint("announce", "is told to nobody", "set targets_file, or leave it out");
      })
      .build();
}

Status PrometheusMonitor::listen(int local_rank) {
  CONCLAVE_ASSIGN(Endpoint endpoint, parse_endpoint(options_.listen));
  if (endpoint.port == 0) return listen_at(std::move(endpoint));
  const bool alone = options_.placement == Placement::global;
  if (!alone) endpoint.port += local_rank;
  const int first = endpoint.port;
  if (first > last_port)
    return unsupported("port " + std::to_string(first) + ", that of local rank " + std::to_string(local_rank) +
                           ", is above " + std::to_string(last_port),
                       "set `listen` to a lower port");
  // An endpoint that the run has one of is where its readers expect it; those of ranks share a machine with others.
  const bool moves =
      options_.on_conflict == OnConflict::next || (options_.on_conflict == OnConflict::automatic && !alone);
  const int last = moves ? std::min(first + ports_after, last_port) : first;
  Status refused;
  for (; endpoint.port <= last; ++endpoint.port) {
    std::string reason;
    const Availability found = try_endpoint(endpoint, reason);
    if (found == Availability::failed)
      return unsupported("cannot listen on " + endpoint.text() + ": " + reason,
                         "set `listen` to an address of this machine");
    if (found == Availability::in_use)
      refused = unsupported("port " + std::to_string(endpoint.port) + " of " + endpoint.host + " is in use",
                            "stop what listens there, set `listen` to another port, or set `on_conflict: next`");
    else
      refused = listen_at(endpoint); // fails when another process was faster
    if (!refused.ok()) continue;
    if (endpoint.port != first)
      host_.log(LogLevel::warning, "port " + std::to_string(first) + " of " + endpoint.host +
                                       " is in use: listening on " + std::to_string(endpoint.port) + " instead");
    return {};
  }
  if (!moves) return refused;
  return unsupported("cannot listen on any of the ports " + std::to_string(first) + " to " + std::to_string(last) +
                         "; of the last one: " + refused.error().what,
                     "stop what listens there, or set `listen` to another port");
}

Status PrometheusMonitor::listen_at(Endpoint endpoint) {
  try {
    const SignalMask masked;
    exposer_ = std::make_unique<prometheus::Exposer>(endpoint.text());
  } catch (const std::exception& caught) {
    return unsupported("cannot listen on " + endpoint.text() + ": " + caught.what(),
                       "set `listen` to another address and port");
  }
  if (const auto ports = exposer_->GetListeningPorts(); !ports.empty()) endpoint.port = ports.front();
  endpoint_ = std::move(endpoint);
  exposer_->RegisterCollectable(exporter_.registry());
  host_.log(LogLevel::info, "metrics at http://" + endpoint_.text() + "/metrics");
  return {};
}

Status PrometheusMonitor::start(const RunInfo& run) {
  if (options_.placement != Placement::global) exporter_.set_common_labels({{"rank", std::to_string(run.rank)}});
  exporter_.gauge("conclave_run_info", "The run; the value is always 1.", 1,
                  {{"name", run.name},
                   {"config_hash", run.config_hash},
                   {"config_hash_without_seed", run.config_hash_without_seed}});
  exporter_.gauge("conclave_attempt", "0 for the first start of the run, then one more with each resume.",
                  static_cast<double>(run.attempt));
  exporter_.gauge("conclave_target_steps", "Steps of the whole run.", static_cast<double>(run.total_steps));
  exporter_.gauge("conclave_parameters", "Parameters of the model.", static_cast<double>(run.parameters));
  exporter_.gauge("conclave_active_parameters", "Parameters that one token uses.",
                  static_cast<double>(run.active_parameters));
  exporter_.gauge("conclave_ranks", "Ranks of the run.", run.world_size);
  exporter_.gauge("conclave_start_timestamp_seconds", "When this process began to train, in Unix time.", unix_time());
  exporter_.gauge("conclave_step", "Batches seen.", static_cast<double>(run.first_step));
  directory_ = run.directory;
  export_disk();
  exporter_.counter("conclave_skipped_steps_total", "Steps whose update was not applied.", 0);
  exporter_.counter("conclave_dropped_tokens_total", "Tokens that no expert took.", 0);
  CONCLAVE_RETURN_IF_ERROR(listen(run.local_rank));
  return write_target(run);
}

Status PrometheusMonitor::write_target(const RunInfo& run) {
  if (options_.targets_file.empty()) return {};
  const bool alone = options_.placement == Placement::global;
  Labels labels = {{"run", run.name}};
  if (!alone) labels.emplace_back("rank", std::to_string(run.rank));
  const auto prefix = std::filesystem::path(run.directory) / options_.targets_file;
  // An attempt of more ranks that was killed left files that nobody else takes away.
  if (run.rank == 0) remove_targets_from(prefix, alone ? 1 : run.world_size);
  CONCLAVE_ASSIGN(TargetFile written, TargetFile::write(target_path(prefix, run.rank), announced_address(), labels));
  target_ = std::move(written);
  return {};
}

std::string PrometheusMonitor::announced_address() const {
  Endpoint announced = endpoint_;
  if (!options_.announce.empty())
    announced.host = options_.announce;
  else if (endpoint_.is_any())
    announced.host = machine_name();
  return announced.text();
}

void PrometheusMonitor::export_metric(const Metric& metric) {
  const std::string& name = metric.name;
  const double value = metric.value;
  if (!metric.labels.empty()) {
    if (name == "expert_load" && !options_.experts) return; // its largest ratio stands for it
    if (name == "domain_share")
      return exporter_.gauge("conclave_domain_share_ratio", "Share of the step's sequences from each domain.", value,
                             metric.labels);
    if (name == "sent_bytes") // of a step, and a scrape may miss steps
      return exporter_.counter("conclave_sent_bytes_total",
                               "Bytes that this rank sent to other ranks since this process started.", value,
                               metric.labels);
    return exporter_.gauge(default_name(metric), "Reported by the run as " + name + ".", value, metric.labels);
  }
  if (name == "loss")
    return exporter_.gauge(
        "training_loss", "Loss of the last step, in nats for each token, with smoothing and auxiliary losses.", value);
  if (name == "nll")
    return exporter_.gauge("conclave_nll_nats", "Negative log-likelihood of the last step for each token.", value);
  if (name == "learning_rate") return exporter_.gauge("learning_rate", "Learning rate of the last step.", value);
  if (name == "tokens_per_second") {
    exporter_.gauge("conclave_tokens_per_second", "Tokens trained on in a second of the last step.", value);
    if (options_.short_names)
      exporter_.gauge("tokens_per_sec", "Tokens trained on in a second of the last step.", value);
    return;
  }
  if (name == "grad_norm")
    return exporter_.gauge("conclave_grad_norm", "Global norm of the gradient before clipping.", value);
  if (name == "loss_scale") return exporter_.gauge("conclave_loss_scale", "Scale of the loss in fp16.", value);
  if (name == "tokens")
    return exporter_.counter("conclave_tokens_total", "Tokens trained on since this process started.", value);
  if (name == "dropped_tokens")
    return exporter_.counter("conclave_dropped_tokens_total", "Tokens that no expert took.", value);
  if (name == "applied")
    return exporter_.counter("conclave_skipped_steps_total", "Steps whose update was not applied.", value == 0 ? 1 : 0);
  if (name == "step_seconds")
    return exporter_.histogram("conclave_step_duration_seconds", "Time of a step.", value, step_seconds_bounds);
  exporter_.gauge(default_name(metric), "Reported by the run as " + name + ".", value);
}

void PrometheusMonitor::export_disk() {
  const Clock::time_point now = Clock::now();
  if (directory_.empty() || (disk_asked_ && now - *disk_asked_ < between_disk_questions)) return;
  disk_asked_ = now;
  std::error_code failed;
  const std::filesystem::space_info space = std::filesystem::space(directory_, failed);
  if (failed) return;
  exporter_.gauge("conclave_disk_free_bytes", "Free on the disk of the run directory.",
                  static_cast<double>(space.available));
  exporter_.gauge("conclave_disk_size_bytes", "Size of the disk of the run directory.",
                  static_cast<double>(space.capacity));
}

Status PrometheusMonitor::step(const StepReport& report) {
  seen_.emplace_back(report.step, Clock::now());
  if (seen_.size() > remembered_steps) seen_.pop_front();
  export_disk();
  exporter_.gauge("conclave_step", "Batches seen.", static_cast<double>(report.step));
  exporter_.gauge("conclave_last_step_timestamp_seconds", "When the last step was reported, in Unix time.",
                  unix_time());
  for (const Metric& metric : report.metrics) export_metric(metric);
  for (const Metric& ratio : report.expert_imbalance())
    exporter_.gauge("conclave_" + ratio.name, "Load of the fullest expert over the mean load; 1 is perfect balance.",
                    ratio.value, ratio.labels);
  if (exporter_.refused() > 0 && !warned_) {
    warned_ = true;
    host_.log(LogLevel::warning, "more than " + std::to_string(options_.max_series.value) +
                                     " series: the others are left out; raise `max_series` or turn `experts` off");
  }
  return {};
}

Status PrometheusMonitor::evaluation(const EvaluationReport& report) {
  exporter_.gauge("conclave_evaluation_step", "Batches seen at the last evaluation.", static_cast<double>(report.step));
  for (const Metric& metric : report.metrics) {
    Metric named = metric;
    const std::string plain = metric.name.starts_with("eval_") ? metric.name.substr(5) : metric.name;
    // promtool takes the word for a unit that should be bytes.
    named.name = "evaluation_" + (plain == "bits_per_byte" ? "bpb" : plain);
    if (plain == "bits_per_byte") named.unit.clear();
    // One label set for the whole family: the value over all domains is one of them.
    exporter_.gauge(default_name(named), "Held-out " + metric.name + ".", metric.value,
                    metric.labels.empty() ? Labels{{"domain", "all"}} : metric.labels);
  }
  return {};
}

Status PrometheusMonitor::checkpoint(std::int64_t step, const std::string&) {
  exporter_.gauge("conclave_checkpoint_last_step", "Batches seen by the last checkpoint.", static_cast<double>(step));
  exporter_.gauge("conclave_checkpoint_last_success_timestamp_seconds",
                  "When the last checkpoint was verified, in Unix time.", unix_time());
  const auto reported = std::find_if(seen_.begin(), seen_.end(), [step](const auto& one) { return one.first == step; });
  if (reported != seen_.end())
    exporter_.gauge("conclave_checkpoint_duration_seconds",
                    "Of the last checkpoint, from the report of its step until it was verified.",
                    std::chrono::duration<double>(Clock::now() - reported->second).count());
  return {};
}

Status PrometheusMonitor::finish(int) {
  stop();
  return {};
}

PrometheusMonitor::~PrometheusMonitor() { stop(); }

void PrometheusMonitor::stop() noexcept {
  target_.reset(); // before the endpoint: nobody is to be sent to one that is gone
  if (!exposer_) return;
  // The server looks for its end every two seconds or at a connection, so connections hurry it.
  const std::jthread hurry([endpoint = endpoint_](const std::stop_token& done) {
    while (!done.stop_requested()) {
      touch_endpoint(endpoint);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  exposer_.reset();
}

} // namespace conclave::prometheus_monitor

CONCLAVE_PLUGINS(
    conclave::describe_plugin<conclave::prometheus_monitor::PrometheusMonitor, conclave::prometheus_monitor::Options>(
        {.id = "monitor/prometheus",
         .version = "1.0.0",
         .summary = "Serves the run's metrics to a Prometheus server.",
         .licence = "MIT"},
        conclave::prometheus_monitor::option_table()))
