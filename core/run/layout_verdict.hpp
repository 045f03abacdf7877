// LayoutVerdict: whether a run under one layout of ranks was the same run as that of one rank. Pure: records in, words out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/step_record.hpp"

namespace conclave {

struct VerifiedLayout {
  int pipeline = 1, virtual_stages = 1, data = 1, tensor = 1, expert = 1;
  [[nodiscard]] int ranks() const { return pipeline * data * tensor; }
  /// "pp2 dp2 tp2 ep4"; a degree of 1 is left out, "1 rank" when nothing is left.
  [[nodiscard]] std::string name() const;
};

struct LayoutVerdict {
  VerifiedLayout layout;
  std::string failure; ///< the run did not end well: why; "" otherwise
  double loss_difference = 0, norm_difference = 0, tensor_difference = 0; ///< largest; relative where above 1
  std::string worst_tensor;
  /// First routing difference: "step 3, layer 1, expert 5: 12 tokens, one rank 13"; "" without one. In fp64 it makes the layout
  /// another run; in narrower types the comparison ends there.
  std::string parted;
  SentByGroup sent;             ///< by all ranks
  std::int64_t peak_memory = 0; ///< of the rank that needed most
  bool same = false;
};

/// Whether a token that was routed elsewhere makes another run. In narrow types another order of sums may send one there.
enum class Parting { refused, allowed };

/// Fills `failure` where the numbers of steps differ, `parted` with the first routing difference, and the differences of loss
/// (nll too) and gradient norm over the steps before it.
void compare_steps(const std::vector<RecordedStep>& found, const std::vector<RecordedStep>& expected,
                   LayoutVerdict& verdict);

/// Sets `same` from all that the verdict holds by then.
void judge(LayoutVerdict& verdict, double tolerance, Parting parting);

} // namespace conclave
