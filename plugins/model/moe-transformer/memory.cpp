// The parts of a chunk in the order of the forward pass, and the worst moment of both passes.

#include "memory.hpp"

#include <algorithm>
#include <vector>

#include "conclave/parallel/vocabulary.hpp"
#include "layout.hpp"

namespace conclave::moe_transformer {
namespace {

/// Bytes of a part of the network: kept from its forward to its backward pass, and what either holds beside that while
/// it runs. A part's input is its own, its output the next one's.
struct Part {
  std::int64_t kept = 0, forward = 0, backward = 0;
};

/// While a part runs, those after it keep nothing: not yet, or no longer.
ActivationBytes total(const std::vector<Part>& parts) {
  ActivationBytes bytes;
  std::int64_t worst = 0; // beside nothing, so far
  for (const Part& part : parts) {
    bytes.kept += part.kept;
    worst = std::max(worst, bytes.kept + std::max(part.forward, part.backward));
  }
  bytes.working = worst - bytes.kept;
  return bytes;
}

class Counter {
 public:
  Counter(const Config& config, const StageRequest& request, std::int64_t rows, std::int64_t length)
      : c_(config),
        request_(request),
        all_(rows * length),
        ranks_(request.mesh.size(MeshDim::tensor)),
        own_((all_ + ranks_ - 1) / ranks_),
        element_(bytes_of(request.compute)),
        wide_(bytes_of(request.compute == at::kDouble ? at::kDouble : at::kFloat)) {}

  [[nodiscard]] ActivationBytes chunk() const {
    std::vector<Part> parts;
    const auto [first, last] = chunk_layers(c_, request_.chunk, request_.chunks);
    if (request_.chunk == 0) parts.push_back(embedding());
    for (std::int64_t layer = first; layer < last; ++layer) {
      const std::vector<Part> inner{attention(), c_.is_dense(layer) ? dense() : experts()};
      if (request_.recompute == Recompute::layer)
        parts.push_back(recomputed(inner));
      else
        parts.insert(parts.end(), inner.begin(), inner.end());
    }
    parts.push_back(request_.chunk + 1 == request_.chunks ? head() : Part{hidden(own_), 0, 0});
    return total(parts);
  }

 private:
  static std::int64_t bytes_of(at::ScalarType type) { return static_cast<std::int64_t>(c10::elementSize(type)); }
  /// [rows, width] in the compute type.
  [[nodiscard]] std::int64_t hidden(std::int64_t rows) const { return rows * c_.width * element_; }
  /// What tensor ranks gather for a product, or get from one before they scatter it.
  [[nodiscard]] std::int64_t gathered() const { return ranks_ > 1 ? hidden(all_) : 0; }
  /// The input of a norm, and its scales.
  [[nodiscard]] std::int64_t norm() const { return hidden(own_) + own_ * wide_; }

  [[nodiscard]] Part embedding() const {
    const std::int64_t rows = parallel::vocabulary_range(request_.shape.vocabulary, ranks_, 0).local;
    // ATen sums the table's gradient by segments of 10 tokens, each a row in the accumulation type.
    const std::int64_t segments = all_ / 10 + std::min(all_, rows);
    return {0, gathered(), hidden(own_) + gathered() + (all_ + rows + segments) * c_.width * wide_};
  }

  [[nodiscard]] Part attention() const {
    const std::int64_t heads = c_.heads / ranks_, keys = std::max<std::int64_t>(1, c_.key_heads() / ranks_);
    const std::int64_t head = c_.head_size(), output = all_ * heads * head * element_;
    const std::int64_t projected = all_ * (heads + 2 * keys) * head * element_;
    Part part;
    part.kept = norm() + hidden(all_);                      // and the product's input
    part.kept += projected + output + all_ * heads * wide_; // queries, keys, values, output, log-sums
    if (c_.qk_norm) part.kept += projected + all_ * (heads + keys) * wide_;
    if (c_.hierarchy.head_gates) part.kept += output + all_ * heads * (wide_ + element_);
    part.forward = gathered() + hidden(own_);
    // Attention's backward pass: gradients of its output and inputs, queries' summed in the accumulation type, keys'
    // and values' for every query head.
    part.backward = hidden(own_) + gathered() + output + projected + output / element_ * wide_;
    if (heads > keys) part.backward += 2 * output;
    return part;
  }

  /// Gate and up products and what comes of them, of `units` hidden units in `rows` rows.
  [[nodiscard]] std::int64_t swiglu_kept(std::int64_t rows, std::int64_t units) const {
    return 3 * rows * units * element_;
  }

  [[nodiscard]] Part dense() const {
    const std::int64_t units = c_.dense_width / ranks_;
    Part part;
    part.kept = norm() + hidden(all_) + swiglu_kept(all_, units);
    part.forward = gathered() + hidden(own_);
    part.backward = hidden(own_) + gathered() + 4 * all_ * units * element_; // as in experts(), without weights
    return part;
  }

  [[nodiscard]] Part experts() const {
    const std::int64_t ranks = request_.mesh.size(MeshDim::expert);
    const std::int64_t rows = own_ * c_.top_k; // sent and received alike: experts are chosen equally often
    const std::int64_t unit_rows = rows * c_.expert_width * element_;
    constexpr std::int64_t index = sizeof(std::int64_t);
    Part part;
    // And the router's input, in the accumulation type where its product is of that type (ops::wide_linear).
    part.kept = norm() + (request_.compute == at::kBFloat16 ? hidden(own_) : own_ * c_.width * wide_);
    part.kept += routing();
    // Pair and token of each row, and the row of each pair; the last two where rows are sent, too.
    part.kept += rows * index * (ranks > 1 ? 5 : 3);
    part.kept += hidden(rows) + 2 * unit_rows + rows * wide_; // SwiGLU's result is computed again
    if (c_.shared_experts > 0)
      part.kept += hidden(all_) + swiglu_kept(all_, c_.shared_experts * c_.expert_width / ranks_);
    part.forward = (ranks > 1 ? 4 : 2) * hidden(rows) + 2 * hidden(own_);
    // The activation: the rows' gradients before it, four tensors of its width; weights' gradients go where they belong.
    part.backward = hidden(own_) + hidden(rows) + 4 * unit_rows;
    return part;
  }

  /// Logits and choices, of all tokens on every tensor rank.
  [[nodiscard]] std::int64_t routing() const {
    return all_ * (c_.experts * wide_ + c_.top_k * static_cast<std::int64_t>(sizeof(std::int64_t)));
  }

  [[nodiscard]] Part head() const {
    const std::int64_t columns = parallel::vocabulary_range(request_.shape.vocabulary, ranks_, 0).local;
    // As in ops::cross_entropy.
    const std::int64_t chunk =
        std::min(all_, std::clamp<std::int64_t>((std::int64_t{1} << 27) / columns / 256 * 256, 256, 8192));
    Part part;
    part.kept = norm() + hidden(all_) + columns * c_.width * wide_ + all_ * wide_; // gradients, and each token's nll
    part.forward = hidden(all_) + (ranks_ > 1 ? hidden(own_) : 0); // the norm's output, and a chunk's logits
    part.forward += chunk * columns * (wide_ + (wide_ != element_ ? element_ : 0));
    part.backward = 2 * hidden(own_);
    return part;
  }

  /// Kept is the input; the backward pass runs everything again and then goes back through it.
  [[nodiscard]] Part recomputed(const std::vector<Part>& inner) const {
    const ActivationBytes again = total(inner);
    Part part;
    part.kept = hidden(own_);
    part.backward = again.kept - part.kept + hidden(own_) + again.working;
    return part; // its first forward pass, which keeps nothing, needs less
  }

  const Config& c_;
  const StageRequest& request_;
  std::int64_t all_;            ///< tokens of the micro-batch
  int ranks_;                   ///< of the tensor dimension
  std::int64_t own_;            ///< tokens between the products
  std::int64_t element_, wide_; ///< bytes in the compute and the accumulation type
};

} // namespace

ActivationBytes activation_bytes(const Config& config, const StageRequest& request, std::int64_t rows,
                                 std::int64_t length) {
  return Counter(config, request, rows, length).chunk();
}

} // namespace conclave::moe_transformer
