// PD2: domain d is a task of weight r/P, r = B * part mod P, and a batch is a time slot with as many processors as there
// are leftover seats. Its seat number e (from 1) may be given in slots [floor((e-1)P/r), ceil(eP/r)).

#include "data/domain_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace conclave::data {
namespace {

constexpr std::int64_t max_exact_total = 65'536, rounded_total = 1 << 20;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The next seat of a domain with r of P leftover parts a slot, 0 < r < P.
struct Seat {
  std::int64_t number = 1; ///< e

  [[nodiscard]] std::int64_t release(std::int64_t r, std::int64_t p) const { return (number - 1) * p / r; }
  [[nodiscard]] std::int64_t deadline(std::int64_t r, std::int64_t p) const { return ceil_div(number * p, r); }
  /// Whether this seat's window overlaps the next one's.
  [[nodiscard]] bool overlaps(std::int64_t r, std::int64_t p) const { return number * p % r != 0; }
  /// End of the cascade of windows of length two that taking the last slot here would force; 0 for light domains.
  [[nodiscard]] std::int64_t group_deadline(std::int64_t r, std::int64_t p) const {
    if (2 * r < p) return 0;
    return ceil_div(ceil_div(deadline(r, p) * (p - r), p) * p, p - r);
  }
};

} // namespace

std::vector<std::int64_t> integer_shares(const std::vector<double>& shares, std::int64_t batch) {
  std::vector<std::int64_t> parts(shares.size());
  for (std::int64_t total = 1; total <= max_exact_total; ++total) {
    bool fits = true;
    for (std::size_t d = 0; d < shares.size() && fits; ++d) {
      const double exact = shares[d] * static_cast<double>(total);
      parts[d] = std::llround(exact);
      fits = (parts[d] >= 1 || shares[d] == 0) &&
             std::abs(exact - static_cast<double>(parts[d])) < 1e-9 * static_cast<double>(total);
    }
    if (fits && std::accumulate(parts.begin(), parts.end(), std::int64_t{0}) == total) return parts;
  }
  const std::int64_t total = ceil_div(rounded_total, batch) * batch;
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t left = total;
  for (std::size_t d = 0; d < shares.size(); ++d) {
    const double exact = shares[d] * static_cast<double>(total);
    parts[d] = std::max<std::int64_t>(shares[d] > 0 ? 1 : 0, static_cast<std::int64_t>(exact));
    left -= parts[d];
    if (shares[d] > 0)
      remainders.emplace_back(static_cast<double>(parts[d]) - exact, d); // ascending: largest remainder first
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; left > 0; i = (i + 1) % remainders.size(), --left) ++parts[remainders[i].second];
  *std::max_element(parts.begin(), parts.end()) += left; // negative where tiny shares were raised to one part
  return parts;
}

DomainSchedule::DomainSchedule(std::vector<std::int64_t> parts, std::int64_t batch)
    : parts_(std::move(parts)),
      batch_(batch),
      total_(std::accumulate(parts_.begin(), parts_.end(), std::int64_t{0})),
      period_(total_ / std::gcd(total_, batch)),
      floor_(parts_.size()) {
  for (std::size_t d = 0; d < parts_.size(); ++d) floor_[d] = batch_ * parts_[d] / total_;
  seat_one_period();
}

void DomainSchedule::seat_one_period() {
  const std::size_t domains = parts_.size();
  std::vector<std::int64_t> rate(domains); // r
  std::int64_t leftover = 0;
  for (std::size_t d = 0; d < domains; ++d) {
    rate[d] = batch_ * parts_[d] % total_;
    leftover += rate[d];
  }
  leftover /= total_; // the rates sum to a whole number of seats
  std::vector<Seat> seats(domains);
  extra_before_.assign(static_cast<std::size_t>(period_ + 1) * domains, 0);
  std::vector<std::size_t> ready;
  for (std::int64_t slot = 0; slot < period_; ++slot) {
    auto* row = &extra_before_[static_cast<std::size_t>(slot) * domains];
    auto* next = row + domains;
    std::copy(row, row + domains, next);
    ready.clear();
    for (std::size_t d = 0; d < domains; ++d)
      if (rate[d] > 0 && seats[d].release(rate[d], total_) <= slot) ready.push_back(d);
    const auto priority = [&](std::size_t d) {
      const Seat& seat = seats[d];
      return std::tuple(seat.deadline(rate[d], total_), !seat.overlaps(rate[d], total_),
                        -seat.group_deadline(rate[d], total_), d);
    };
    std::sort(ready.begin(), ready.end(), [&](std::size_t a, std::size_t b) { return priority(a) < priority(b); });
    for (std::size_t i = 0; i < std::min(ready.size(), static_cast<std::size_t>(leftover)); ++i) {
      ++next[ready[i]];
      ++seats[ready[i]].number;
    }
  }
}

std::int64_t DomainSchedule::before(std::int64_t index, std::size_t domain) const {
  const std::int64_t turns = index / period_, rest = index % period_;
  // batch * period is a multiple of total, so a whole period gives a whole number.
  return turns * (batch_ * period_ / total_ * parts_[domain]) + rest * floor_[domain] +
         extra_before_[static_cast<std::size_t>(rest) * parts_.size() + domain];
}

std::int64_t DomainSchedule::count(std::int64_t index, std::size_t domain) const {
  const auto rest = static_cast<std::size_t>(index % period_);
  return floor_[domain] + extra_before_[(rest + 1) * parts_.size() + domain] -
         extra_before_[rest * parts_.size() + domain];
}

} // namespace conclave::data
