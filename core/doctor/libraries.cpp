// What libraries say of themselves.

#include "doctor/libraries.hpp"

#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <charconv>
#include <sstream>

#include "conclave/build_info.hpp"
#include "launch/device.hpp"
#include "launch/nccl/nccl_backend.hpp"

namespace conclave::doctor {
namespace {

std::vector<int> numbers(const std::string& version) {
  std::vector<int> parts;
  std::istringstream text(version);
  for (std::string part; std::getline(text, part, '.');) {
    int number = 0;
    std::from_chars(part.data(), part.data() + part.size(), number);
    parts.push_back(number);
  }
  return parts;
}

/// "2.11.0" of "2.11.0+cu130 <git hash>".
std::string plain_version(const std::string& text) { return text.substr(0, text.find_first_of("+ ")); }

/// LibTorch has no function for its version; its description of itself has.
std::string torch_version() {
  const std::string config = at::show_config();
  static const std::string key = "TORCH_VERSION=";
  const std::size_t at = config.find(key);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + key.size();
  return plain_version(config.substr(begin, config.find_first_of(", \n", begin) - begin));
}

std::string nccl_built() {
  void* library = dlopen(nccl_library, RTLD_NOW | RTLD_LOCAL);
  const auto* version = library != nullptr ? static_cast<const int*>(dlsym(library, nccl_version_symbol)) : nullptr;
  return version != nullptr ? dotted_version_text(*version) : "";
}

std::string nccl_found() {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD); // that of LibTorch's CUDA half
  using GetVersion = int (*)(int* version);
  const auto get = library != nullptr ? reinterpret_cast<GetVersion>(dlsym(library, "ncclGetVersion")) : nullptr;
  int version = 0;
  return get != nullptr && get(&version) == 0 ? dotted_version_text(version) : "";
}

Check judge(const LibraryFact& fact) {
  const std::string need = " was built for " + fact.built;
  if (fact.found.empty())
    return {fact.name, Verdict::fail, fact.why.empty() ? "not found" : fact.why,
            "run tools/bootstrap; LD_LIBRARY_PATH may hide it"};
  if (fact.built.empty()) return {fact.name, Verdict::ok, fact.found, ""};
  const int order = compare_versions(fact.found, fact.built);
  const bool same_major = numbers(fact.found).front() == numbers(fact.built).front();
  const bool fits = fact.rule == LibraryFact::Rule::equal ? order == 0 : order >= 0 && same_major;
  if (fits) return {fact.name, Verdict::ok, fact.found + ", built for " + fact.built, ""};
  return {fact.name, Verdict::fail, fact.found,
          "the program" + need + ": run with that (LD_LIBRARY_PATH, CONCLAVE_TORCH_DIR), or build again with this one"};
}

} // namespace

int compare_versions(const std::string& a, const std::string& b) {
  std::vector<int> left = numbers(a), right = numbers(b);
  left.resize(std::max(left.size(), right.size()));
  right.resize(left.size());
  return left < right ? -1 : left > right ? 1 : 0;
}

std::string cuda_version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string dotted_version_text(long version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::vector<LibraryFact> read_libraries(bool gpu) {
  // CUDA first: LibTorch asks itself whether it has it when it describes itself, and remembers a "no".
  const Status cuda = gpu ? open_device(DeviceChoice::cuda, 0, false).status() : Status{};
  std::vector<LibraryFact> facts = {
      {"LibTorch", plain_version(CONCLAVE_BUILD_TORCH), torch_version(), LibraryFact::Rule::equal}};
  if (!gpu) return facts;
  if (!cuda.ok()) {
    facts.push_back(
        {.name = "LibTorch's CUDA half", .built = CONCLAVE_BUILD_CUDA, .found = "", .why = cuda.error().what});
    return facts;
  }
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  facts.push_back({"CUDA run-time", CONCLAVE_BUILD_CUDA, cuda_version_text(static_cast<int>(hooks.versionCUDART()))});
  // cuDNN counts 9.10.2 as 91002: its major number takes what is left of four digits.
  facts.push_back(
      {"cuDNN", dotted_version_text(hooks.versionCuDNN()), dotted_version_text(hooks.versionRuntimeCuDNN())});
  facts.push_back({"NCCL", nccl_built(), nccl_found()});
  return facts;
}

Checks judge_libraries(const std::vector<LibraryFact>& facts) {
  Checks checks;
  for (const LibraryFact& fact : facts) checks.push_back(judge(fact));
  return checks;
}

} // namespace conclave::doctor
