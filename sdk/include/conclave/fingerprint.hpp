// The build fingerprint that every plugin library carries in an ELF note, and that the host compares before dlopen.
//
// What this is: a few `key=value` lines about the build that must match for C++ objects to cross the boundary. What this
// is not: a signature or a proof of origin; plugins are trusted code.
//
// `sdk` is a hash of the public SDK headers (while the version is 0.x, any change of a header is a new SDK), `torch` and
// `cuda` are empty for a plugin that does not use tensors. `compiler` only warns. The constants come from
// build_info.hpp, which CMake writes.
#pragma once

#include "conclave/build_info.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define CONCLAVE_FP_SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define CONCLAVE_FP_SANITIZER "thread"
#else
#define CONCLAVE_FP_SANITIZER ""
#endif

#if defined(_GLIBCXX_DEBUG)
#define CONCLAVE_FP_STDLIB_CHECKS "debug"
#elif defined(_GLIBCXX_ASSERTIONS)
#define CONCLAVE_FP_STDLIB_CHECKS "assertions"
#else
#define CONCLAVE_FP_STDLIB_CHECKS ""
#endif

#define CONCLAVE_FP_STR_INNER(x) #x
#define CONCLAVE_FP_STR(x) CONCLAVE_FP_STR_INNER(x)

// CONCLAVE_PLUGIN_TENSOR is defined by conclave_add_plugin(... TENSOR): such a plugin exchanges at::Tensor with the host.
#if defined(CONCLAVE_PLUGIN_TENSOR)
#define CONCLAVE_FP_TORCH CONCLAVE_BUILD_TORCH
#define CONCLAVE_FP_CUDA CONCLAVE_BUILD_CUDA
#else
#define CONCLAVE_FP_TORCH ""
#define CONCLAVE_FP_CUDA ""
#endif

/// The fingerprint of the translation unit that expands it. One `key=value` a line.
#define CONCLAVE_FINGERPRINT_TEXT \
  "sdk=" CONCLAVE_BUILD_SDK_HASH "\n"                       \
  "sdk_version=" CONCLAVE_BUILD_SDK_VERSION "\n"            \
  "torch=" CONCLAVE_FP_TORCH "\n"                           \
  "cuda=" CONCLAVE_FP_CUDA "\n"                             \
  "cxx11_abi=" CONCLAVE_FP_STR(_GLIBCXX_USE_CXX11_ABI) "\n" \
  "libstdcxx=" CONCLAVE_FP_STR(_GLIBCXX_RELEASE) "\n"       \
  "sanitizer=" CONCLAVE_FP_SANITIZER "\n"                   \
  "stdlib_checks=" CONCLAVE_FP_STDLIB_CHECKS "\n"           \
  "compiler=" __VERSION__ "\n"

namespace conclave {

inline constexpr char fingerprint_note_name[] = "Conclave"; // 9 bytes with the terminator
inline constexpr unsigned fingerprint_note_type = 1;

/// An ELF note as the linker lays it out: header, owner name padded to 4 bytes, description padded to 4 bytes.
template <unsigned N>
struct FingerprintNote {
  unsigned name_size = sizeof(fingerprint_note_name);
  unsigned description_size = N;
  unsigned type = fingerprint_note_type;
  char name[12] = "Conclave";
  char description[(N + 3) / 4 * 4] = {};
  constexpr explicit FingerprintNote(const char (&text)[N]) {
    for (unsigned i = 0; i < N; ++i) description[i] = text[i];
  }
};

} // namespace conclave

// The argument is spelled out: deduced, GCC 12 makes the section writable, of which the assembler complains.
#define CONCLAVE_FINGERPRINT_NOTE()                                                                           \
  __attribute__((section(".note.conclave"), used,                                                             \
                 aligned(4))) static constexpr ::conclave::FingerprintNote<sizeof(CONCLAVE_FINGERPRINT_TEXT)> \
      conclave_fingerprint_note_{CONCLAVE_FINGERPRINT_TEXT};
