// Families over prometheus-cpp.

#include "exporter.hpp"

#include <cmath>

namespace conclave::prometheus_monitor {
std::string clean_name(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool digit = c >= '0' && c <= '9';
    if (digit && out.empty()) out += '_';
    out += letter || digit ? c : '_';
  }
  return out.empty() ? "_" : out;
}

std::string clean_label(const std::string& name) {
  std::string out = clean_name(name);
  if (out == "le" || out == "quantile" || out.starts_with("__")) out = "label_" + out;
  return out;
}

prometheus::Labels Exporter::to_labels(const Labels& labels) const {
  prometheus::Labels out = common_;
  for (const auto& [name, value] : labels) {
    const std::string clean = clean_label(name);
    out.emplace(common_.contains(clean) ? "label_" + clean : clean, value);
  }
  return out;
}

bool Exporter::claim(const std::string& name, Type type) { return types_.emplace(name, type).first->second == type; }

bool Exporter::admit(const std::string& name, const prometheus::Labels& labels) {
  auto& known = series_[name];
  if (known.contains(labels)) return true;
  if (series_count_ >= max_series_) {
    ++refused_;
    return false;
  }
  known.emplace(labels, true);
  ++series_count_;
  return true;
}

bool Exporter::finite(const std::string& name, double value) {
  if (std::isfinite(value)) return true;
  const char* counter_name = "conclave_nonfinite_values_total";
  if (name != counter_name)
    counter(counter_name, "Values that were NaN or infinite and not exported.", 1, {{"metric", name}});
  return false;
}

void Exporter::gauge(const std::string& name, const std::string& help, double value, const Labels& labels) {
  if (!finite(name, value) || !claim(name, Type::gauge)) return;
  const prometheus::Labels set = to_labels(labels);
  if (!admit(name, set)) return;
  auto*& family = gauges_[name];
  if (!family) family = &prometheus::BuildGauge().Name(name).Help(help).Register(*registry_);
  family->Add(set).Set(value);
}

void Exporter::counter(const std::string& name, const std::string& help, double amount, const Labels& labels) {
  if (!finite(name, amount) || !claim(name, Type::counter)) return;
  const prometheus::Labels set = to_labels(labels);
  if (!admit(name, set)) return;
  auto*& family = counters_[name];
  if (!family) family = &prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
  auto& series = family->Add(set); // there from the start, even with an amount of 0
  if (amount > 0) series.Increment(amount);
}

void Exporter::histogram(const std::string& name, const std::string& help, double value,
                         const std::vector<double>& bounds) {
  if (!finite(name, value) || !claim(name, Type::histogram) || !admit(name, common_)) return;
  auto*& family = histograms_[name];
  if (!family) family = &prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_);
  family->Add(common_, bounds).Observe(value);
}

} // namespace conclave::prometheus_monitor
