// Lengths first, then the texts padded to the longest.

#include "train/text_exchange.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>

namespace conclave::train {

std::vector<std::string> exchange_texts(Group* group, const std::string& text, at::Device device) {
  if (group == nullptr || group->size() == 1) return {text};
  const auto ranks = static_cast<std::int64_t>(group->size());
  const auto on_device = at::TensorOptions().device(device);
  const at::Tensor length = at::full({1}, static_cast<std::int64_t>(text.size()), on_device.dtype(at::kLong));
  const at::Tensor lengths = at::empty({ranks}, length.options());
  group->all_gather(lengths, length).wait();
  const at::Tensor host_lengths = lengths.cpu();
  const auto* sizes = host_lengths.const_data_ptr<std::int64_t>();
  const std::int64_t longest = *std::max_element(sizes, sizes + ranks);

  const at::Tensor padded = at::zeros({longest}, at::kByte);
  std::memcpy(padded.mutable_data_ptr(), text.data(), text.size());
  const at::Tensor all = at::empty({ranks * longest}, on_device.dtype(at::kByte));
  group->all_gather(all, padded.to(device)).wait();
  const at::Tensor host = all.cpu();
  std::vector<std::string> texts;
  for (std::int64_t rank = 0; rank < ranks; ++rank)
    texts.emplace_back(static_cast<const char*>(host.const_data_ptr()) + rank * longest,
                       static_cast<std::size_t>(sizes[rank]));
  return texts;
}

} // namespace conclave::train
