// Graphs of cuDNN's frontend, and the cache of their plans.

#include "attention_plan.hpp"

#ifdef CONCLAVE_HAS_CUDNN

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr; // the frontend looks its functions up here
}

namespace conclave::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using Sizes = std::vector<std::int64_t>;

/// The deterministic backward pass on Hopper keeps all scores: beyond this LibTorch's flash attention is the better one.
constexpr std::int64_t most_deterministic_workspace = std::int64_t{1} << 30;
constexpr std::size_t oldest_cudnn = 91200; // writes log-sums in any layout

enum Id : std::int64_t { query, key, value, out, lse, dout, dquery, dkey, dvalue, query_lengths, key_lengths, offsets };

void need(fe::error_t status) {
  if (!status.is_good()) throw std::runtime_error("cuDNN: " + status.get_message());
}
void need(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuDNN: ") + what + " failed with " + std::to_string(status));
}

/// The library that LibTorch uses, and a handle for each device. Never closed: at the end of a process its own state may be gone.
class Cudnn {
 public:
  Cudnn() {
    fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD | RTLD_LOCAL);
    usable_ = fe::cudnn_dlhandle != nullptr && fe::detail::get_backend_version() >= oldest_cudnn;
  }
  [[nodiscard]] bool usable() const { return usable_; }
  cudnnHandle_t handle(int device) {
    cudnnHandle_t& handle = handles_[device];
    if (handle == nullptr) need(fe::detail::create_handle(&handle), "cudnnCreate");
    return handle;
  }

 private:
  bool usable_ = false;
  std::map<int, cudnnHandle_t> handles_;
};

struct Plans {
  std::mutex mutex; ///< of everything here: a handle serves one thread at a time
  Cudnn cudnn;
  std::map<AttentionKey, std::unique_ptr<AttentionPlan>> built; ///< null: refused
};
Plans& plans() {
  static Plans* const instance = new Plans;
  return *instance;
}

int compute_capability(int device) {
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  return 10 * major + minor;
}

/// A graph in the making, with what forward and backward share.
class Builder {
 public:
  explicit Builder(const AttentionKey& key) : key_(key) {
    graph_->set_io_data_type(io_type())
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT)
        .set_sm_version(compute_capability(key.device)); // else the frontend opens a CUDA runtime of its own choice
    if (key.tokens == 0) return;
    for (std::int64_t i = 0; i < 5; ++i) offsets_[i] = list(offsets + i, key.batch + 1, fe::DataType_t::INT64);
    query_lengths_ = list(query_lengths, key.batch, fe::DataType_t::INT32);
    key_lengths_ = list(key_lengths, key.batch, fe::DataType_t::INT32);
  }

  std::shared_ptr<fe::graph::Graph> forward() {
    auto options = masked(fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(true));
    auto [o, stats] = graph_->sdpa(input(query), input(key), input(value), options);
    describe(o, out).set_output(true);
    describe(stats, lse).set_output(true);
    return finish();
  }

  std::shared_ptr<fe::graph::Graph> backward() {
    auto options = masked(fe::graph::SDPA_backward_attributes().set_name("attention_backward"));
    options.set_deterministic_algorithm(key_.deterministic);
    if (key_.tokens > 0) options.set_max_total_seq_len_q(key_.tokens).set_max_total_seq_len_kv(key_.tokens);
    auto [dq, dk, dv] =
        graph_->sdpa_backward(input(query), input(key), input(value), input(out), input(dout), input(lse), options);
    describe(dq, dquery).set_output(true);
    describe(dk, dkey).set_output(true);
    describe(dv, dvalue).set_output(true);
    return finish();
  }

 private:
  [[nodiscard]] fe::DataType_t io_type() const {
    return key_.type == Type::fp16 ? fe::DataType_t::HALF : fe::DataType_t::BFLOAT16;
  }

  Tensor list(std::int64_t id, std::int64_t count, fe::DataType_t type) {
    return graph_->tensor(fe::graph::Tensor_attributes()
                              .set_uid(id)
                              .set_dim({count, 1, 1, 1})
                              .set_stride({1, 1, 1, 1})
                              .set_data_type(type));
  }

  Tensor input(Id id) {
    auto x = graph_->tensor(fe::graph::Tensor_attributes());
    describe(x, id);
    return x;
  }

  /// Sizes and strides, in cuDNN's order: row, head, token, number.
  fe::graph::Tensor_attributes& describe(const Tensor& x, Id id) const {
    const bool of_keys = id == Id::key || id == Id::dkey, of_values = id == Id::value || id == Id::dvalue;
    const bool of_queries = id == Id::query || id == Id::dquery, slots = key_.tokens > 0;
    const std::int64_t batch = key_.batch, length = key_.length,
                       heads = of_keys || of_values ? key_.kv_heads : key_.heads;
    x->set_uid(id);
    if (id == Id::lse) {
      x->set_dim({batch, heads, length, 1}).set_data_type(fe::DataType_t::FLOAT);
      x->set_stride(slots ? Sizes{length * heads, 1, heads, 1} : Sizes{heads * length, length, 1, 1});
    } else {
      const std::int64_t width = of_queries || of_keys ? key_.width : key_.value_width;
      x->set_dim({batch, heads, length, width}).set_data_type(io_type());
      if (id == Id::query || id == Id::key || id == Id::value) {
        const std::int64_t* s = &key_.strides[3 * static_cast<std::size_t>(id)];
        x->set_stride({s[0], s[2], s[1], 1});
      } else {
        x->set_stride({length * heads * width, width, heads * width, 1});
      }
    }
    if (slots) x->set_ragged_offset(offsets_[of_queries ? 0 : of_keys ? 1 : of_values ? 2 : id == Id::lse ? 4 : 3]);
    return *x;
  }

  template <class Options>
  Options masked(Options options) const {
    options.set_attn_scale(static_cast<float>(1 / std::sqrt(static_cast<double>(key_.width))));
    options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    if (key_.window > 0) options.set_diagonal_band_left_bound(static_cast<int>(key_.window));
    if (key_.tokens > 0) options.set_padding_mask(true).set_seq_len_q(query_lengths_).set_seq_len_kv(key_lengths_);
    return options;
  }

  std::shared_ptr<fe::graph::Graph> finish() {
    need(graph_->build(plans().cudnn.handle(key_.device), {fe::HeurMode_t::A}));
    return graph_;
  }

  const AttentionKey& key_;
  std::shared_ptr<fe::graph::Graph> graph_ = std::make_shared<fe::graph::Graph>();
  std::array<Tensor, 5> offsets_;
  Tensor query_lengths_, key_lengths_;
};

class CudnnPlan final : public AttentionPlan {
 public:
  explicit CudnnPlan(const AttentionKey& key)
      : device_(key.device),
        slots_(key.tokens > 0),
        forward_(Builder(key).forward()),
        backward_(Builder(key).backward()) {
    need(forward_->get_workspace_size(forward_workspace_));
    need(backward_->get_workspace_size(backward_workspace_));
    if (key.deterministic && backward_workspace_ > most_deterministic_workspace)
      throw std::runtime_error("the workspace is too large");
  }

  [[nodiscard]] std::int64_t forward_workspace() const override { return forward_workspace_; }
  [[nodiscard]] std::int64_t backward_workspace() const override { return backward_workspace_; }
  void forward(const AttentionPointers& x, void* workspace, cudaStream_t stream) const override {
    run(*forward_, x, workspace, stream);
  }
  void backward(const AttentionPointers& x, void* workspace, cudaStream_t stream) const override {
    run(*backward_, x, workspace, stream);
  }

 private:
  /// A graph takes of these the ones that it knows.
  void run(const fe::graph::Graph& graph, const AttentionPointers& x, void* workspace, cudaStream_t stream) const {
    const auto writable = [](const auto* p) { return const_cast<void*>(static_cast<const void*>(p)); };
    std::unordered_map<std::int64_t, void*> pointers{{query, writable(x.query)},
                                                     {key, writable(x.key)},
                                                     {value, writable(x.value)},
                                                     {out, x.out},
                                                     {lse, x.lse},
                                                     {dout, writable(x.dout)},
                                                     {dquery, x.dquery},
                                                     {dkey, x.dkey},
                                                     {dvalue, x.dvalue}};
    if (slots_) {
      pointers[query_lengths] = pointers[key_lengths] = writable(x.lengths);
      for (std::size_t i = 0; i < x.offsets.size(); ++i)
        pointers[offsets + static_cast<std::int64_t>(i)] = writable(x.offsets[i]);
    }
    const std::lock_guard lock(plans().mutex);
    const cudnnHandle_t handle = plans().cudnn.handle(device_);
    need(fe::detail::set_stream(handle, stream), "cudnnSetStream");
    need(graph.execute(handle, pointers, workspace));
  }

  int device_;
  bool slots_;
  std::shared_ptr<fe::graph::Graph> forward_, backward_;
  std::int64_t forward_workspace_ = 0, backward_workspace_ = 0;
};

} // namespace

bool has_attention_plans() {
  static const bool usable = [] {
    const std::lock_guard lock(plans().mutex);
    return plans().cudnn.usable();
  }();
  return usable;
}

const AttentionPlan* attention_plan(const AttentionKey& key) {
  if (!has_attention_plans()) return nullptr;
  const std::lock_guard lock(plans().mutex);
  const auto [entry, is_new] = plans().built.try_emplace(key);
  if (is_new) {
    try {
      entry->second = std::make_unique<CudnnPlan>(key);
    } catch (const std::exception&) {
      // Refused: there is another way to the same result, and the frontend's log (CUDNN_FRONTEND_LOG_INFO=1) says why.
    }
  }
  return entry->second.get();
}

} // namespace conclave::cuda

#else

namespace conclave::cuda {

bool has_attention_plans() { return false; }
const AttentionPlan* attention_plan(const AttentionKey&) { return nullptr; }

} // namespace conclave::cuda

#endif
