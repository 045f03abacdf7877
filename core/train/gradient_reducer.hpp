// GradientReducer: sums main gradients over the ranks that hold parts of them, while the backward pass goes on.
//
// A flat group is sent as soon as every parameter in it has its last contribution (GradSink::on_complete). Groups are sent
// in one fixed order, that of a backward pass, so that all ranks make the same calls; a group that is complete early waits for
// its turn. With sharded optimizer state the sum is scattered (each rank gets its owned part), else every rank gets all.
// Gradients may travel in a narrower type than they are kept in: each rank's part is rounded once, and so is the sum.
//
// Threading: begin_step() and finish() on the step thread; what sinks call runs on autograd's thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

#include "train/storage.hpp"

namespace conclave::train {

struct ReducerSettings {
  at::ScalarType type = at::kFloat; ///< in which gradients travel
  Group* pipeline = nullptr;        ///< for tied parameters; may be null without them
};

class GradientReducer {
 public:
  /// Sets on_complete of every slot's sink; `storage` must outlive the reducer.
  GradientReducer(ParameterStorage& storage, const ReducerSettings& settings);

  void begin_step();
  /// After every sink is finished: afterwards the owned part of each gradient (everything, where states are not sharded) is
  /// the sum over ranks, tied copies included.
  void finish();

 private:
  struct Bucket {
    FlatGroup* group = nullptr;
    std::size_t parameters = 0, missing = 0;
    at::Tensor sent, received; ///< in the travelling type, where that is another; kept from step to step
    Work work;
  };
  void complete(std::size_t bucket);
  void launch(Bucket& bucket);
  void exchange_tied(FlatGroup& group);

  ParameterStorage& storage_;
  ReducerSettings settings_;
  std::vector<Bucket> buckets_; ///< in the order of launching
  std::size_t next_ = 0;        ///< to launch
};

} // namespace conclave::train
