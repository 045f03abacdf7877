// Operators of Megatron-LM's GPT, counted from its source.

#include "unit/plan/dense_gpt.hpp"

#include <array>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "launch/ranks.hpp"

namespace conclave::plan::testing {
namespace {

using Kind = OperatorWork::Kind;

constexpr double vocabulary = 51200, element = 2, mask = 1;

class DenseGpt {
 public:
  explicit DenseGpt(const PublishedRow& row)
      : r_(row),
        t_(row.tensor),
        tokens_(static_cast<double>(row.micro_batch) * row.length),
        hidden_(row.hidden),
        own_tokens_(row.sequence_parallel ? tokens_ / t_ : tokens_) {}

  [[nodiscard]] ChunkWork chunk(int index, int chunks) const {
    ChunkWork work;
    PassWork& forward = work.stage.forward;
    PassWork& backward = work.stage.backward;
    const int layers = r_.layers / chunks;
    const PassWork core = attention_core(), rest = around_attention();
    add(forward, core, layers);
    add(forward, rest, layers);
    if (r_.recompute != Recomputed::none) add(backward, core, layers);
    if (r_.recompute == Recomputed::full) add(backward, rest, layers);
    add(backward, gradient(core), layers);
    add(backward, gradient(rest), layers);
    if (index == 0) {
      memory(forward, 3 * tokens_ * hidden_ * element);
      memory(backward, 3 * tokens_ * hidden_ * element);
      exchange(forward, Collective::all_reduce);
    }
    if (index + 1 == chunks) {
      const PassWork last = head();
      add(forward, last, 1);
      add(backward, gradient(last), 1);
      exchange(backward, Collective::all_reduce);
    }
    // Megatron-LM scatters a message over the tensor ranks and gathers it behind the slow link.
    const double message = tokens_ * hidden_ * element / t_;
    if (index > 0) work.input_bytes = message;
    if (index + 1 < chunks) work.output_bytes = message;
    if (!r_.sequence_parallel) {
      if (index > 0) exchange(forward, Collective::all_gather);
      if (index + 1 < chunks) exchange(backward, Collective::all_gather);
    }
    return work;
  }

  [[nodiscard]] double parameters(bool first, bool last) const {
    const double layers = static_cast<double>(r_.layers) / r_.pipeline * (12 * hidden_ + 13) * hidden_;
    return (layers + (first || last ? vocabulary * hidden_ : 0)) / t_ + (first ? r_.length * hidden_ : 0);
  }

 private:
  static void add(PassWork& to, const PassWork& part, int times) {
    for (OperatorWork op : part.operators) {
      op.times *= times;
      to.operators.push_back(op);
    }
    for (ExchangeWork op : part.exchanges) {
      op.times *= times;
      to.exchanges.push_back(op);
    }
  }

  static void memory(PassWork& pass, double bytes) { pass.operators.push_back({Kind::memory, 0, bytes, 1}); }

  /// `batch` products of [m, k] and [k, n].
  static void product(PassWork& pass, double m, double n, double k, double batch = 1) {
    pass.operators.push_back({Kind::product, 2 * batch * m * n * k, batch * (m * n + m * k + k * n) * element, 1});
  }

  void exchange(PassWork& pass, Collective kind) const {
    if (r_.tensor > 1) pass.exchanges.push_back({kind, MeshDim::tensor, tokens_ * hidden_ * element, 1});
  }

  /// From the sharded region into the one that is not, and back: two kinds of the same traffic.
  void exchange_pair(PassWork& pass) const {
    if (!r_.sequence_parallel) return exchange(pass, Collective::all_reduce);
    exchange(pass, Collective::all_gather);
    exchange(pass, Collective::reduce_scatter);
  }

  [[nodiscard]] PassWork attention_core() const {
    PassWork pass;
    const double heads = r_.heads / t_ * r_.micro_batch, width = hidden_ / r_.heads, length = r_.length;
    const double scores = heads * length * length;
    product(pass, length, length, width, heads);
    memory(pass, 2 * scores * element);          // scale, mask and softmax in one kernel
    memory(pass, scores * (2 * element + mask)); // dropout
    product(pass, length, width, length, heads);
    return pass;
  }

  [[nodiscard]] PassWork around_attention() const {
    PassWork pass;
    const double rows = own_tokens_ * hidden_;
    product(pass, tokens_, 3 * hidden_ / t_, hidden_);
    product(pass, tokens_, hidden_, hidden_ / t_);
    product(pass, tokens_, 4 * hidden_ / t_, hidden_);
    product(pass, tokens_, hidden_, 4 * hidden_ / t_);
    for (int twice = 0; twice < 2; ++twice) {
      memory(pass, 2 * rows * element);          // LayerNorm
      memory(pass, rows * (3 * element + mask)); // bias, dropout, residual
      exchange_pair(pass);
    }
    memory(pass, 2 * tokens_ * 3 * hidden_ / t_ * element); // bias of queries, keys and values; transposition
    memory(pass, 2 * tokens_ * 4 * hidden_ / t_ * element); // bias and GeLU
    return pass;
  }

  [[nodiscard]] PassWork head() const {
    PassWork pass;
    memory(pass, 2 * own_tokens_ * hidden_ * element);
    product(pass, tokens_, vocabulary / t_, hidden_);
    memory(pass, tokens_ * vocabulary / t_ * (element + 4 * 4)); // to fp32, maximum, exponentials, sum
    return pass;
  }

  /// A product has two of its own size; a memory-bound kernel reads what it read and the gradient, and writes one.
  [[nodiscard]] static PassWork gradient(const PassWork& forward) {
    PassWork pass = forward;
    for (OperatorWork& op : pass.operators) {
      if (op.kind == Kind::product)
        op.times *= 2;
      else
        op.bytes *= 1.5;
    }
    return pass;
  }

  const PublishedRow& r_;
  double t_, tokens_, hidden_, own_tokens_;
};

Recomputed recomputed_of(const std::string& word) {
  if (word == "none") return Recomputed::none;
  if (word == "selective") return Recomputed::selective;
  if (word == "full") return Recomputed::full;
  throw std::runtime_error("unknown recomputation " + word);
}

} // namespace

StepWork dense_gpt_step(const PublishedRow& row) {
  const DenseGpt model(row);
  StepWork step;
  const ParallelSizes sizes{row.tensor, row.pipeline, 1, row.data};
  step.mesh = *resolve_mesh(sizes, row.gpus, 0);
  step.shape = {row.pipeline, row.virtual_stages, row.batch / row.data / row.micro_batch};
  step.compute = Compute::fp16;
  step.sums_overlap = false;
  const int chunks = row.pipeline * row.virtual_stages;
  for (int rank = 0; rank < row.pipeline; ++rank) {
    RankWork& work = step.ranks.emplace_back();
    for (int own = 0; own < row.virtual_stages; ++own)
      work.chunks.push_back(model.chunk(own * row.pipeline + rank, chunks));
    const double parameters = model.parameters(rank == 0, rank + 1 == row.pipeline);
    if (row.data > 1) work.sums.push_back({{MeshDim::data}, parameters * element, 0});
    // To fp32 and a check for overflow 2 + 4 + 4, norm 4, clip 8, Adam 4 + 8 + 8 + 8, back to fp16 4 + 2, zeroes 2.
    work.update_bytes = parameters * 58;
  }
  return step;
}

std::vector<PublishedRow> read_published(const std::string& path) {
  std::ifstream file(path);
  std::vector<PublishedRow> rows;
  std::string line;
  bool header = true;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    if (std::exchange(header, false)) continue;
    std::istringstream cells(line);
    std::vector<std::string> cell;
    for (std::string text; std::getline(cells, text, ',');) cell.push_back(text);
    if (cell.size() != 14) throw std::runtime_error(path + ": a row of " + std::to_string(cell.size()) + " cells");
    PublishedRow row;
    const std::array numbers{&row.gpus,   &row.batch,  &row.micro_batch, &row.hidden,   &row.heads,         &row.layers,
                             &row.length, &row.tensor, &row.data,        &row.pipeline, &row.virtual_stages};
    for (std::size_t i = 0; i < numbers.size(); ++i) *numbers[i] = std::stoi(cell[i]);
    row.recompute = recomputed_of(cell[11]);
    row.sequence_parallel = cell[12] == "1";
    row.seconds = std::stod(cell[13]);
    rows.push_back(row);
  }
  if (rows.empty()) throw std::runtime_error(path + ": no rows");
  return rows;
}

} // namespace conclave::plan::testing
