// Encodes texts with a tokenizer plugin as prepare does, on one thread, and prints MB/s: a side of tokenizer_rates.py.
// tests/golden/tokenizer gets our ids from it.
//
//   bench_tokenize PLUGIN.so ID TEXTS FOLDER [OPTION=VALUE ...]
//
// TEXTS: records of a 32-bit count and so many bytes. A tokenizer that needs training is trained on them first. FOLDER: gets
// the tokenizer's files and `ids`, records of a 32-bit count and so many 32-bit ids; `-` for none. The figure is of encode()
// alone: the median of five rounds over all texts.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "conclave/testkit.hpp"
#include "conclave/tokenizer.hpp"
#include "plugins.hpp"

namespace conclave {
namespace {

Status train(Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  const auto start = std::chrono::steady_clock::now();
  std::size_t at = 0;
  CONCLAVE_RETURN_IF_ERROR(tokenizer.train([&](std::string& text) {
    if (at == texts.size()) return false;
    text = texts[at++];
    return true;
  }));
  std::printf("train_seconds %.2f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return {};
}

Status measure(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::size_t bytes = 0, tokens = 0;
  for (const std::string& text : texts) bytes += text.size();
  std::array<double, 5> seconds{};
  std::vector<std::int32_t> ids;
  for (double& round : seconds) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) {
      ids.clear();
      CONCLAVE_RETURN_IF_ERROR(tokenizer.encode(text, ids));
      tokens += ids.size();
    }
    round = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::ranges::sort(seconds);
  std::printf("bytes %zu\ntokens %zu\nmegabytes_per_second %.2f\n", bytes, tokens,
              static_cast<double>(bytes) / 1e6 / seconds[2]);
  return {};
}

/// Also decodes, and says how many texts came back as they were.
Status write(const Tokenizer& tokenizer, const std::vector<std::string>& texts, const std::string& folder) {
  CONCLAVE_RETURN_IF_ERROR(tokenizer.write(folder));
  std::ofstream file(folder + "/ids", std::ios::binary);
  std::vector<std::int32_t> ids;
  std::size_t back = 0;
  for (const std::string& text : texts) {
    ids.clear();
    CONCLAVE_RETURN_IF_ERROR(tokenizer.encode(text, ids));
    const auto count = static_cast<std::uint32_t>(ids.size());
    file.write(reinterpret_cast<const char*>(&count), sizeof count);
    file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof ids[0]));
    std::string decoded;
    CONCLAVE_RETURN_IF_ERROR(tokenizer.decode(ids.data(), ids.size(), decoded));
    back += decoded == text;
  }
  std::printf("texts %zu\ncame_back %zu\n", texts.size(), back);
  file.close();
  return file.fail() ? Status{storage_error("cannot write the ids", {}, folder)} : Status{};
}

Status run(std::span<char*> arguments) {
  const auto texts = bench::read_texts(arguments[2]);
  testkit::FakeHost host({.phase = Phase::prepare, .plugin_id = arguments[1]});
  CONCLAVE_ASSIGN(const auto tokenizer, bench::make<Tokenizer>(host, arguments[0], arguments[1], arguments.subspan(4)));
  if (tokenizer->needs_training()) CONCLAVE_RETURN_IF_ERROR(train(*tokenizer, texts));
  if (std::string_view(arguments[3]) != "-") return write(*tokenizer, texts, arguments[3]);
  return measure(*tokenizer, texts);
}

} // namespace
} // namespace conclave

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: bench_tokenize PLUGIN.so ID TEXTS FOLDER|- [OPTION=VALUE ...]\n");
    return 2;
  }
  const conclave::Status done = conclave::run({argv + 1, argv + argc});
  if (!done.ok()) std::fprintf(stderr, "%s\n", done.error().render().c_str());
  return done.ok() ? 0 : 1;
}
