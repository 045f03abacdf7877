// Group: checks, accounting, and the group of one rank.

#include "conclave/parallel/group.hpp"

#include <numeric>
#include <stdexcept>

namespace conclave {
namespace {

double bytes_of(const at::Tensor& tensor) { return static_cast<double>(tensor.numel() * tensor.element_size()); }

[[noreturn]] void misfit(const std::string& group, const char* call, const std::string& what) {
  throw std::invalid_argument(std::string(call) + " over " + group + ": " + what);
}

void need(bool right, const std::string& group, const char* call, const char* what) {
  if (!right) misfit(group, call, what);
}

bool fits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

void copy_unless_same(const at::Tensor& output, const at::Tensor& input) {
  if (output.const_data_ptr() != input.const_data_ptr()) output.copy_(input.view(output.sizes()));
}

class SingleRankGroup final : public Group {
 public:
  explicit SingleRankGroup(std::string name) : Group(std::move(name), 0, 1) {}

 protected: // never called: size() is 1
  Work do_all_reduce(const at::Tensor&, ReduceOp) override { return {}; }
  Work do_all_gather(const at::Tensor&, const at::Tensor&) override { return {}; }
  Work do_reduce_scatter(const at::Tensor&, const at::Tensor&) override { return {}; }
  Work do_all_to_all(const at::Tensor&, const at::Tensor&, std::span<const std::int64_t>,
                     std::span<const std::int64_t>) override {
    return {};
  }
  Work do_broadcast(const at::Tensor&, int) override { return {}; }
  Work do_send(const at::Tensor&, int) override { return {}; }
  Work do_receive(const at::Tensor&, int) override { return {}; }
};

class SingleRankGroups final : public Groups {
 public:
  Group& over(std::span<const MeshDim>) override { return group_; }
  Group& world() override { return group_; }
  [[nodiscard]] std::vector<const Group*> all() const override { return {&group_}; }

 private:
  SingleRankGroup group_{"world"};
};

} // namespace

const char* to_string(Collective kind) noexcept {
  switch (kind) {
    case Collective::all_reduce: return "all_reduce";
    case Collective::all_gather: return "all_gather";
    case Collective::reduce_scatter: return "reduce_scatter";
    case Collective::all_to_all: return "all_to_all";
    case Collective::broadcast: return "broadcast";
    case Collective::send: return "send";
  }
  return "unknown";
}

Traffic& Traffic::operator+=(const Traffic& other) noexcept {
  for (std::size_t i = 0; i < collective_count; ++i) {
    calls[i] += other.calls[i];
    bytes[i] += other.bytes[i];
  }
  return *this;
}

Traffic& Traffic::operator-=(const Traffic& other) noexcept {
  for (std::size_t i = 0; i < collective_count; ++i) {
    calls[i] -= other.calls[i];
    bytes[i] -= other.bytes[i];
  }
  return *this;
}

Group::~Group() = default;
Groups::~Groups() = default;

void Group::count(Collective kind, double bytes) {
  const auto index = static_cast<std::size_t>(kind);
  ++traffic_.calls[index];
  traffic_.bytes[index] += bytes;
}

Work Group::all_reduce(const at::Tensor& tensor, ReduceOp op) {
  need(tensor.is_contiguous(), name_, "all_reduce", "the tensor is not contiguous");
  if (size_ == 1 || tensor.numel() == 0) return {};
  count(Collective::all_reduce, 2.0 * (size_ - 1) / size_ * bytes_of(tensor));
  return do_all_reduce(tensor, op);
}

Work Group::all_gather(const at::Tensor& output, const at::Tensor& input) {
  need(output.is_contiguous() && input.is_contiguous(), name_, "all_gather", "a tensor is not contiguous");
  need(fits(output, input) && output.numel() == size_ * input.numel(), name_, "all_gather",
       "the output is not the ranks' inputs");
  if (input.numel() == 0) return {};
  if (size_ == 1) {
    copy_unless_same(output, input);
    return {};
  }
  count(Collective::all_gather, static_cast<double>(size_ - 1) / size_ * bytes_of(output));
  return do_all_gather(output, input);
}

Work Group::reduce_scatter(const at::Tensor& output, const at::Tensor& input) {
  need(output.is_contiguous() && input.is_contiguous(), name_, "reduce_scatter", "a tensor is not contiguous");
  need(fits(output, input) && input.numel() == size_ * output.numel(), name_, "reduce_scatter",
       "the input is not a part for each rank");
  if (output.numel() == 0) return {};
  if (size_ == 1) {
    copy_unless_same(output, input);
    return {};
  }
  count(Collective::reduce_scatter, static_cast<double>(size_ - 1) / size_ * bytes_of(input));
  return do_reduce_scatter(output, input);
}

Work Group::all_to_all(const at::Tensor& output, const at::Tensor& input, std::span<const std::int64_t> output_rows,
                       std::span<const std::int64_t> input_rows) {
  const auto sum = [](std::span<const std::int64_t> rows) {
    return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  };
  need(output.is_contiguous() && input.is_contiguous(), name_, "all_to_all", "a tensor is not contiguous");
  need(output.dim() > 0 && input.dim() > 0 && fits(output, input) && output.sizes().slice(1) == input.sizes().slice(1),
       name_, "all_to_all", "the rows of output and input differ");
  need(output_rows.size() == static_cast<std::size_t>(size_) && input_rows.size() == output_rows.size() &&
           sum(output_rows) == output.size(0) && sum(input_rows) == input.size(0),
       name_, "all_to_all", "the counts are not those of the rows");
  if (size_ == 1) {
    if (input.numel() > 0) copy_unless_same(output, input);
    return {};
  }
  const auto away = static_cast<double>(input.size(0) - input_rows[static_cast<std::size_t>(rank_)]);
  const double row_bytes = input.size(0) > 0 ? bytes_of(input) / static_cast<double>(input.size(0)) : 0;
  count(Collective::all_to_all, away * row_bytes);
  return do_all_to_all(output, input, output_rows, input_rows);
}

Work Group::broadcast(const at::Tensor& tensor, int root) {
  need(tensor.is_contiguous(), name_, "broadcast", "the tensor is not contiguous");
  need(root >= 0 && root < size_, name_, "broadcast", "the root is no rank of the group");
  if (size_ == 1 || tensor.numel() == 0) return {};
  count(Collective::broadcast, static_cast<double>(size_ - 1) / size_ * bytes_of(tensor));
  return do_broadcast(tensor, root);
}

Work Group::send(const at::Tensor& tensor, int peer) {
  need(tensor.is_contiguous(), name_, "send", "the tensor is not contiguous");
  need(peer >= 0 && peer < size_ && peer != rank_, name_, "send", "the peer is no other rank of the group");
  count(Collective::send, bytes_of(tensor));
  return do_send(tensor, peer);
}

Work Group::receive(const at::Tensor& tensor, int peer) {
  need(tensor.is_contiguous(), name_, "receive", "the tensor is not contiguous");
  need(peer >= 0 && peer < size_ && peer != rank_, name_, "receive", "the peer is no other rank of the group");
  return do_receive(tensor, peer);
}

std::shared_ptr<Groups> single_rank_groups() { return std::make_shared<SingleRankGroups>(); }

} // namespace conclave
