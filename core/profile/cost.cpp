// The rules, by operator.

#include "profile/cost.hpp"

#include <map>
#include <string_view>

namespace conclave::profile {
namespace {

using Shape = std::vector<std::int64_t>;

double elements(const Shape& shape) {
  double count = 1;
  for (const std::int64_t size : shape) count *= static_cast<double>(size);
  return count;
}

Shape shape_of(const Call& call, std::size_t argument) {
  return argument < call.shapes.size() ? call.shapes[argument] : Shape{};
}

/// [..., n, k] times [..., k, m].
double product(const Shape& left, const Shape& right) {
  if (left.size() < 2 || right.size() < 2) return 0;
  return 2 * elements(left) * static_cast<double>(right.back());
}

/// Rows [R, K] with [E, K, N], or the sum over rows of [M, R] with [R, N].
double grouped(const Shape& left, const Shape& right) {
  if (left.size() != 2 || right.size() < 2) return 0;
  return 2 * elements(left) * static_cast<double>(right.back());
}

/// Queries [B, H, S, D] against S keys, or [B, S, H, D] where `length_axis` is 1.
double attention(const Shape& query, std::size_t length_axis) {
  if (query.size() != 4) return 0;
  return 2 * elements(query) * static_cast<double>(query[length_axis]);
}

double bytes_of_type(std::string_view type) {
  static const std::map<std::string_view, double> sizes{
      {"float", 4}, {"double", 8}, {"c10::BFloat16", 2}, {"c10::Half", 2},   {"long int", 8}, {"long", 8},
      {"int", 4},   {"bool", 1},   {"unsigned char", 1}, {"signed char", 1}, {"short", 2},    {"short int", 2}};
  const auto found = sizes.find(type);
  return found != sizes.end() ? found->second : 0;
}

} // namespace

double flops_of(const Call& call) {
  const std::string_view name = call.name;
  if (name == "aten::mm" || name == "aten::bmm") return product(shape_of(call, 0), shape_of(call, 1));
  if (name == "aten::addmm" || name == "aten::baddbmm") return product(shape_of(call, 1), shape_of(call, 2));
  if (name == "conclave::grouped_product") return grouped(shape_of(call, 0), shape_of(call, 3)); // x, weight, ends, y
  if (name == "conclave::grouped_weight_gradient") return grouped(shape_of(call, 0), shape_of(call, 1));
  // The kernels' other calls hide a part of the scores, and shapes do not tell which.
  if (name == "conclave::attention") return attention(shape_of(call, 0), 1);
  if (name == "conclave::attention_backward") return attention(shape_of(call, 0), 1) * 2.5;
  if (name == "aten::_grouped_mm") return grouped(shape_of(call, 0), shape_of(call, 1));
  if (!name.starts_with("aten::_") || name.find("attention") == std::string_view::npos) return 0;
  const bool backward =
      name.ends_with("_backward"); // whose first argument is the result's gradient, shaped as the query
  if (!backward && !name.ends_with("_attention") && !name.ends_with("_forward")) return 0;
  const bool rows_first = name.starts_with("aten::_flash_attention") || name.starts_with("aten::_efficient_attention");
  return attention(shape_of(call, 0), rows_first ? 1 : 2) * (backward ? 2.5 : 1);
}

double bytes_of(const Call& call) {
  if (!call.name.starts_with("conclave::") && call.name != "aten::copy_") return 0;
  double bytes = 0;
  for (std::size_t i = 0; i < call.shapes.size() && i < call.types.size(); ++i)
    if (!call.types[i].empty() && bytes_of_type(call.types[i]) > 0)
      bytes += elements(call.shapes[i]) * bytes_of_type(call.types[i]);
  return bytes;
}

} // namespace conclave::profile
