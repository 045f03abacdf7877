// The list of a grouped product's matrix products, written on the GPU, and its place in scratch memory.
#pragma once

#include <cstdint>

namespace conclave::cuda {

/// Where each group's operands lie: addresses advance with the group's first row, or with the group.
struct GroupedOperands {
  char *a, *b, *c;
  std::int64_t a_row, b_row, b_group, c_row, c_group; ///< bytes
  std::int64_t lda, ldb, ldc;                         ///< elements
  int m, n, k;                                        ///< the one that is 0 is the group's number of rows
};

/// Bytes of a list; what comes after it is aligned to 256.
inline std::int64_t grouped_list_bytes(std::int64_t groups, std::int64_t problem) {
  return (groups * (6 * 8 + problem) + 255) / 256 * 256;
}

/// Addresses as those of a T.
template <class T>
T** addresses(void** of) {
  return static_cast<T**>(static_cast<void*>(of));
}

template <class Problem>
struct GroupedList {
  void **a, **b, **c;
  std::int64_t* strides[3];
  Problem* problems;

  GroupedList(void* scratch, std::int64_t groups) {
    auto* pointers = static_cast<void**>(scratch);
    a = pointers, b = pointers + groups, c = pointers + 2 * groups;
    auto* numbers = reinterpret_cast<std::int64_t*>(pointers + 3 * groups);
    for (int i = 0; i < 3; ++i) strides[i] = numbers + i * groups;
    problems = reinterpret_cast<Problem*>(numbers + 3 * groups);
  }

#ifdef __CUDACC__
  /// Returns the group's rows.
  __device__ int write_pointers(const GroupedOperands& o, const std::int32_t* ends, int g) const {
    const std::int64_t begin = g > 0 ? ends[g - 1] : 0;
    a[g] = o.a + begin * o.a_row;
    b[g] = o.b + begin * o.b_row + g * o.b_group;
    c[g] = o.c + begin * o.c_row + g * o.c_group;
    return static_cast<int>(ends[g] - begin);
  }
#endif
};

} // namespace conclave::cuda
