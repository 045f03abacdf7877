// Reading the fingerprint note with libelf, and the rules of fitting.

#define CONCLAVE_PLUGIN_TENSOR // the host's own fingerprint includes torch and CUDA

#include "plugin/build_fingerprint.hpp"

#include <fcntl.h>
#include <gelf.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "conclave/fingerprint.hpp"

namespace conclave {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(const char* path) noexcept : fd_(::open(path, O_RDONLY | O_CLOEXEC)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

struct EndElf {
  void operator()(Elf* elf) const noexcept { elf_end(elf); }
};

struct Field {
  const char* key;
  std::string BuildFingerprint::*member;
};
constexpr Field fields[] = {
    {"sdk", &BuildFingerprint::sdk},
    {"sdk_version", &BuildFingerprint::sdk_version},
    {"torch", &BuildFingerprint::torch},
    {"cuda", &BuildFingerprint::cuda},
    {"cxx11_abi", &BuildFingerprint::cxx11_abi},
    {"libstdcxx", &BuildFingerprint::libstdcxx},
    {"sanitizer", &BuildFingerprint::sanitizer},
    {"stdlib_checks", &BuildFingerprint::stdlib_checks},
    {"compiler", &BuildFingerprint::compiler},
};

/// The description of our note in a note section's data, if it is there.
std::optional<std::string> find_note(Elf_Data* data) {
  GElf_Nhdr header;
  std::size_t name = 0, description = 0;
  for (std::size_t at = 0; (at = gelf_getnote(data, at, &header, &name, &description)) > 0;) {
    const auto* bytes = static_cast<const char*>(data->d_buf);
    if (header.n_type != fingerprint_note_type || header.n_namesz != sizeof(fingerprint_note_name)) continue;
    if (std::memcmp(bytes + name, fingerprint_note_name, sizeof(fingerprint_note_name)) != 0) continue;
    const std::string_view text(bytes + description, header.n_descsz);
    return std::string(text.substr(0, text.find('\0')));
  }
  return std::nullopt;
}

std::string side_by_side(const char* what, const std::string& plugin, const std::string& host) {
  const auto shown = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
  return std::string(what) + ": plugin " + shown(plugin) + ", host " + shown(host);
}

/// The CMake package of this host, which runs as `<build or install tree>/bin/<executable>`.
std::string package_folder() {
  const std::filesystem::path inside = "lib/cmake/Conclave";
  std::error_code failed;
  const auto tree = std::filesystem::read_symlink("/proc/self/exe", failed).parent_path().parent_path();
  const bool there = !failed && std::filesystem::exists(tree / inside / "ConclaveConfig.cmake", failed);
  return ((there ? tree : "<host's build or install tree>") / inside).string();
}

std::optional<int> number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

} // namespace

BuildFingerprint parse_fingerprint(std::string_view text) {
  BuildFingerprint fingerprint;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    for (const Field& field : fields)
      if (line.substr(0, equals) == field.key) fingerprint.*field.member = line.substr(equals + 1);
  }
  return fingerprint;
}

Result<BuildFingerprint> read_fingerprint(const std::filesystem::path& file) {
  const std::string where = file.string();
  const auto refuse = [&where](std::string what, std::string fix = {}) {
    return unsupported(std::move(what), std::move(fix), where);
  };
  const FileDescriptor fd(file.c_str());
  if (fd.get() < 0) return refuse(std::string("cannot be read (") + std::strerror(errno) + ")");
  if (elf_version(EV_CURRENT) == EV_NONE) return refuse("libelf is out of date");
  const std::unique_ptr<Elf, EndElf> elf(elf_begin(fd.get(), ELF_C_READ_MMAP, nullptr));
  GElf_Ehdr header;
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF || !gelf_getehdr(elf.get(), &header) || header.e_type != ET_DYN)
    return refuse("is not an ELF shared library", "remove it from the plugin path, or build it again");

  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section));) {
    GElf_Shdr section_header;
    if (!gelf_getshdr(section, &section_header) || section_header.sh_type != SHT_NOTE) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    if (!data || !data->d_buf) continue;
    if (const auto text = find_note(data)) return parse_fingerprint(*text);
  }
  return refuse("carries no Conclave fingerprint, so it is no plugin",
                "remove it from the plugin path, or use CONCLAVE_PLUGINS(...) in one of its sources");
}

const BuildFingerprint& host_fingerprint() {
  static const BuildFingerprint mine = parse_fingerprint(CONCLAVE_FINGERPRINT_TEXT);
  return mine;
}

FingerprintVerdict compare_fingerprints(const BuildFingerprint& plugin, const BuildFingerprint& host) {
  FingerprintVerdict verdict;
  const auto equal = [&](const char* what, std::string BuildFingerprint::*member) {
    if (plugin.*member != host.*member) verdict.mismatches.push_back(side_by_side(what, plugin.*member, host.*member));
  };
  if (plugin.sdk != host.sdk)
    verdict.mismatches.push_back(
        side_by_side("SDK", plugin.sdk_version + " (" + plugin.sdk + ")", host.sdk_version + " (" + host.sdk + ")"));
  if (!plugin.torch.empty()) {
    equal("torch", &BuildFingerprint::torch);
    equal("CUDA", &BuildFingerprint::cuda);
  }
  equal("C++11 ABI", &BuildFingerprint::cxx11_abi);
  equal("sanitizer", &BuildFingerprint::sanitizer);
  equal("libstdc++ checks", &BuildFingerprint::stdlib_checks);

  const auto theirs = number(plugin.libstdcxx), ours = number(host.libstdcxx);
  if (!theirs || !ours || *theirs > *ours)
    verdict.mismatches.push_back(
        side_by_side("libstdc++ (must be no newer than the host's)", plugin.libstdcxx, host.libstdcxx));
  if (plugin.compiler != host.compiler)
    verdict.warnings.push_back(side_by_side("compiler", plugin.compiler, host.compiler));
  return verdict;
}

std::string FingerprintVerdict::render() const {
  const std::vector<std::string>& parts = fits() ? warnings : mismatches;
  if (parts.empty()) return {};
  std::string text = fits() ? "built differently: " : "does not fit this host: ";
  for (std::size_t i = 0; i < parts.size(); ++i) text += (i ? "; " : "") + parts[i];
  if (!fits())
    text += "; rebuild it against this host: cmake -S <plugin> -B <build> -DConclave_DIR=" + package_folder() +
            " && cmake --build <build>";
  return text;
}

std::string missing_tensor_note(const BuildFingerprint& plugin, std::string_view kind) {
  if ((kind != "model" && kind != "optimizer") || !plugin.torch.empty()) return {};
  return "holds a plugin of kind " + std::string(kind) +
         " but was built as one without tensors; rebuild it with conclave_add_plugin(" + std::string(kind) +
         " ... TENSOR)";
}

} // namespace conclave
