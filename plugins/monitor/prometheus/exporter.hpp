// Exporter: the metric families of the endpoint, made on first use, with names and labels that Prometheus accepts.
//
// What this is: a guard around prometheus-cpp's registry. It cleans names, keeps NaN and infinity out (they would poison sums
// and histograms), holds one type for each name, and stops at a number of series. What this is not: what our metrics mean;
// prometheus.cpp says that.
//
// Threading: one thread writes; the registry serves scrapes from threads of its own.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace conclave::prometheus_monitor {

using Labels = std::vector<std::pair<std::string, std::string>>;

/// Letters, digits and underscores, not starting with a digit.
std::string clean_name(const std::string& name);
/// As clean_name(); names that Prometheus keeps for itself (`le`, `quantile`, `__...`) get the prefix `label_`.
std::string clean_label(const std::string& name);

class Exporter {
 public:
  explicit Exporter(std::size_t max_series) : max_series_(max_series) {}

  /// Labels of every series, with clean names; before the first one is made. A metric's own label of such a name gets the
  /// prefix `label_`.
  void set_common_labels(const Labels& labels) { common_ = {labels.begin(), labels.end()}; }
  /// The first call of a name fixes its type and help; a call with another type is ignored.
  void gauge(const std::string& name, const std::string& help, double value, const Labels& labels = {});
  /// Adds a non-negative amount.
  void counter(const std::string& name, const std::string& help, double amount, const Labels& labels = {});
  void histogram(const std::string& name, const std::string& help, double value, const std::vector<double>& bounds);

  [[nodiscard]] const std::shared_ptr<prometheus::Registry>& registry() const noexcept { return registry_; }
  /// Series that were not made because there are too many.
  [[nodiscard]] std::size_t refused() const noexcept { return refused_; }

 private:
  template <class T>
  using Families = std::map<std::string, prometheus::Family<T>*>;
  enum class Type { gauge, counter, histogram };
  /// False when the name has another type.
  bool claim(const std::string& name, Type type);
  /// False when the series is new and there are too many already.
  bool admit(const std::string& name, const prometheus::Labels& labels);
  bool finite(const std::string& name, double value);
  [[nodiscard]] prometheus::Labels to_labels(const Labels& labels) const;

  std::size_t max_series_;
  prometheus::Labels common_;
  std::size_t refused_ = 0;
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  std::map<std::string, Type> types_;
  std::map<std::string, std::map<prometheus::Labels, bool>> series_;
  std::size_t series_count_ = 0;
  Families<prometheus::Gauge> gauges_;
  Families<prometheus::Counter> counters_;
  Families<prometheus::Histogram> histograms_;
};

} // namespace conclave::prometheus_monitor
