// The parts of a chunk in the order of the forward pass, each with its backward pass.

#include "work.hpp"

#include <algorithm>
#include <cstddef>

#include "conclave/parallel/vocabulary.hpp"
#include "layout.hpp"

namespace conclave::moe_transformer {
namespace {

using Kind = OperatorWork::Kind;

void append(PassWork& to, const PassWork& from) {
  to.operators.insert(to.operators.end(), from.operators.begin(), from.operators.end());
  to.exchanges.insert(to.exchanges.end(), from.exchanges.begin(), from.exchanges.end());
  to.host_waits += from.host_waits;
}

class Counter {
 public:
  Counter(const Config& config, const StageRequest& request, std::int64_t rows, std::int64_t length)
      : c_(config),
        request_(request),
        length_(length),
        all_(static_cast<double>(rows * length)),
        ranks_(request.mesh.size(MeshDim::tensor)),
        own_(all_ / ranks_),
        width_(static_cast<double>(config.width)),
        element_(bytes_of(request.compute)),
        wide_(bytes_of(request.compute == at::kDouble ? at::kDouble : at::kFloat)) {}

  StageWork chunk() {
    const auto [first, last] = chunk_layers(c_, request_.chunk, request_.chunks);
    if (request_.chunk == 0) embedding();
    for (std::int64_t layer = first; layer < last; ++layer) {
      const StageWork before = work_;
      attention(c_.window_of(layer));
      if (c_.is_dense(layer))
        dense(static_cast<double>(c_.dense_width));
      else
        experts();
      if (request_.recompute == Recompute::layer) repeat_forward(before);
    }
    if (request_.chunk + 1 == request_.chunks) head();
    return std::move(work_);
  }

 private:
  static double bytes_of(at::ScalarType type) { return static_cast<double>(c10::elementSize(type)); }
  [[nodiscard]] double hidden(double rows) const { return rows * width_ * element_; }

  void memory(PassWork& pass, double bytes) { pass.operators.push_back({Kind::memory, 0, bytes, 1}); }

  /// [m, k] times a weight [k, n] of each of `groups`, which share the rows. The backward pass has a product for the
  /// input's gradient and one for the weight's, which is read and written in the master's type.
  void product(double m, double n, double k, double groups = 1) {
    const Kind kind = groups > 1 ? Kind::grouped_product : Kind::product;
    const double flops = 2 * m * n * k, rows = m * (n + k) * element_, weights = groups * n * k;
    work_.forward.operators.push_back({kind, flops, rows + weights * element_, 1});
    work_.backward.operators.push_back({kind, flops, rows + weights * element_, 1});
    work_.backward.operators.push_back({kind, flops, rows + 2 * weights * wide_, 1});
  }

  void exchange(PassWork& pass, Collective kind, MeshDim over, double bytes, int times = 1) {
    if (request_.mesh.size(over) > 1) pass.exchanges.push_back({kind, over, bytes, times});
  }
  /// Own rows to all rows; their gradients are summed back.
  void gather(double bytes) {
    exchange(work_.forward, Collective::all_gather, MeshDim::tensor, bytes);
    exchange(work_.backward, Collective::reduce_scatter, MeshDim::tensor, bytes);
  }
  /// Partial sums of all rows to own rows, added to the residual stream.
  void scatter(double bytes) {
    exchange(work_.forward, Collective::reduce_scatter, MeshDim::tensor, bytes);
    exchange(work_.backward, Collective::all_gather, MeshDim::tensor, bytes);
    if (ranks_ > 1) memory(work_.forward, 3 * hidden(own_));
  }

  /// RMSNorm beside a residual: input, output; and their gradients with the residual's.
  void norm() {
    memory(work_.forward, 2 * hidden(own_));
    memory(work_.backward, 4 * hidden(own_));
  }

  void embedding() {
    memory(work_.forward, 2 * hidden(all_));
    memory(work_.backward, hidden(all_) + 2 * all_ * width_ * wide_);
    exchange(work_.forward, Collective::reduce_scatter, MeshDim::tensor, hidden(all_));
    exchange(work_.backward, Collective::all_gather, MeshDim::tensor, hidden(all_));
  }

  void attention(std::int64_t window) {
    const double head = static_cast<double>(c_.head_size()), heads = static_cast<double>(c_.heads) / ranks_;
    // With fewer key heads than ranks each computes a slice, and gathers the head that it reads.
    const double sliced = static_cast<double>(c_.key_heads()) / ranks_, keys = std::max(1.0, sliced);
    const double output = all_ * heads * head * element_, projected = all_ * (heads + 2 * keys) * head * element_;
    norm();
    gather(hidden(all_));
    product(all_, (heads + 2 * sliced) * head, width_);
    if (sliced < 1) gather(all_ * 2 * static_cast<double>(c_.key_heads()) * head * element_);
    memory(work_.forward, 2 * projected); // rotation, and norms of queries and keys
    memory(work_.backward, (c_.qk_norm ? 3 : 2) * projected);
    const double scores = 4 * all_ * average_span(length_, window) * heads * head;
    work_.forward.operators.push_back({Kind::attention, scores, projected + output, 1});
    work_.backward.operators.push_back({Kind::attention_backward, 2.5 * scores, 2 * (projected + output), 1});
    if (c_.hierarchy.head_gates) {
      product(all_, heads, width_);
      memory(work_.forward, 2 * output);
      memory(work_.backward, 3 * output);
    }
    product(all_, width_, heads * head);
    scatter(hidden(all_));
  }

  /// Gate, up and down of `units` hidden units a group, on rows that `groups` share. The activation is computed again.
  void swiglu(double rows, double units, double groups = 1) {
    product(rows, 2 * units, width_, groups);
    memory(work_.forward, 3 * rows * units * element_);
    memory(work_.backward, 6 * rows * units * element_);
    product(rows, width_, units, groups);
  }

  void dense(double units) {
    norm();
    gather(hidden(all_));
    swiglu(all_, units / ranks_);
    scatter(hidden(all_));
  }

  void experts() {
    const double experts = static_cast<double>(c_.experts), ranks = request_.mesh.size(MeshDim::expert);
    const double rows = own_ * static_cast<double>(c_.top_k); // sent and received alike
    norm();
    if (c_.shared_experts > 0) {
      gather(hidden(all_));
      swiglu(all_, static_cast<double>(c_.shared_experts * c_.expert_width) / ranks_);
      scatter(hidden(all_));
    }
    product(own_, experts, width_); // the router
    exchange(work_.forward, Collective::all_gather, MeshDim::tensor, all_ * experts * wide_);
    memory(work_.forward, 4 * all_ * experts * wide_); // scores, choices, balance, and the rows' order
    memory(work_.backward, 3 * all_ * experts * wide_);
    memory(work_.forward, 2 * hidden(rows)); // rows in the order of experts
    memory(work_.backward, hidden(rows) + hidden(own_));
    for (PassWork* pass : {&work_.forward, &work_.backward})
      exchange(*pass, Collective::all_to_all, MeshDim::expert, hidden(rows), 2);
    if (ranks > 1) {
      ++work_.forward.host_waits;              // for the counts
      memory(work_.forward, 2 * hidden(rows)); // rows of all ranks in the order of own experts, and back
      memory(work_.forward, 2 * hidden(rows));
      memory(work_.backward, 2 * hidden(rows));
      memory(work_.backward, 2 * hidden(rows));
    }
    swiglu(rows, static_cast<double>(c_.expert_width), experts / ranks);
    memory(work_.forward, hidden(rows) + 2 * hidden(own_)); // the weighted sum
    memory(work_.backward, 2 * hidden(rows) + hidden(own_));
  }

  /// Gradients are computed in the forward pass, while a chunk's logits are at hand (ops::cross_entropy).
  void head() {
    const auto columns = static_cast<double>(parallel::vocabulary_range(request_.shape.vocabulary, ranks_, 0).local);
    norm();
    gather(hidden(all_));
    for (int products = 0; products < 3; ++products)
      work_.forward.operators.push_back(
          {Kind::product, 2 * all_ * columns * width_, (all_ * (columns + width_) + columns * width_) * element_, 1});
    memory(work_.forward, 2 * all_ * columns * (wide_ + element_)); // the loss, and the logits' gradients
    memory(work_.backward, 3 * columns * width_ * wide_ + 2 * hidden(all_));
    exchange(work_.forward, Collective::all_reduce, MeshDim::tensor, 4 * all_ * wide_);
  }

  /// What the forward pass has got since `before`, once more in the backward pass.
  void repeat_forward(const StageWork& before) {
    const auto since = [](const auto& all, const auto& old) {
      return std::remove_cvref_t<decltype(all)>(all.begin() + static_cast<std::ptrdiff_t>(old.size()), all.end());
    };
    append(work_.backward, {since(work_.forward.operators, before.forward.operators),
                            since(work_.forward.exchanges, before.forward.exchanges),
                            work_.forward.host_waits - before.forward.host_waits});
  }

  const Config& c_;
  const StageRequest& request_;
  std::int64_t length_;
  double all_; ///< tokens of the micro-batch
  double ranks_;
  double own_; ///< tokens between the products
  double width_, element_, wide_;
  StageWork work_;
};

} // namespace

StageWork stage_work(const Config& config, const StageRequest& request, std::int64_t rows, std::int64_t length) {
  return Counter(config, request, rows, length).chunk();
}

double average_span(std::int64_t length, std::int64_t window) {
  const double n = static_cast<double>(length);
  const double w = window > 0 ? std::min(static_cast<double>(window), n) : n;
  return (w * (w + 1) / 2 + (n - w) * w) / n;
}

} // namespace conclave::moe_transformer
