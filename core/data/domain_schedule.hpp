// DomainSchedule: how many sequences of each domain batch i holds, as a pure function of i.
//
// A batch of B gives domain d floor(B * share) seats and at most one more. Who gets the leftover seats is decided by
// proportionate-fair scheduling with the PD2 rule (Baruah, Cohen, Plaxton, Varvel 1996; Anderson and Srinivasan 2001):
// after any number of batches a domain's total differs from its exact share by less than one sequence. The pattern is
// periodic, so totals at any batch cost O(1) and there is nothing to save.
//
// What this is not: the choice of samples within a domain (batch_plan.cpp). Integer arithmetic throughout.
//
// Threading: immutable.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::data {

/// Shares as integers with the same proportions: the smallest total up to 65,536 that meets every share to 1e-9. Else about
/// a million parts by largest remainder, at least one for each share above 0; their number is a multiple of `batch`, which
/// keeps the schedule's period short. Shares are not negative and sum to 1.
std::vector<std::int64_t> integer_shares(const std::vector<double>& shares, std::int64_t batch);

class DomainSchedule {
 public:
  /// parts: integers >= 0, not all 0; batch >= 1 sequences.
  DomainSchedule(std::vector<std::int64_t> parts, std::int64_t batch);

  /// Sequences of `domain` in batch `index`.
  [[nodiscard]] std::int64_t count(std::int64_t index, std::size_t domain) const;
  /// Sequences of `domain` in all batches before `index`.
  [[nodiscard]] std::int64_t before(std::int64_t index, std::size_t domain) const;
  [[nodiscard]] const std::vector<std::int64_t>& parts() const noexcept { return parts_; }

 private:
  void seat_one_period();

  std::vector<std::int64_t> parts_;
  std::int64_t batch_, total_;
  std::int64_t period_; ///< batches after which the pattern repeats
  std::vector<std::int64_t> floor_;
  std::vector<std::uint32_t> extra_before_; ///< [batch of the period, 0..period][domain]: leftover seats so far
};

} // namespace conclave::data
