// The loader's speed: made-up text is prepared into a token store, which then lies in the page cache, and steps are built from
// it as a run does, with the shuffle of a run.
//
//   bench_data_loader [MILLION_TOKENS [CACHE]]        default: 64, a folder that goes afterwards
//
// One line a figure, the median of five rounds: million tokens a second of one packing, with so many threads of the loader.
// Beside it the ceiling, measured in the same round: a copy of as many bytes as the steps hold. Packed whole documents tell
// how much room is left, and how long their table took.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <vector>

#include "data/loader.hpp"
#include "data/prepare.hpp"

namespace conclave::data {
namespace {

constexpr std::int64_t length = 2048, batch = 128, rounds = 5;

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <class T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "%s\n", result.error().render().c_str());
  std::exit(1);
}

/// Documents of about 900 tokens, most of them shorter, two bytes a token.
class RandomSource final : public Source {
 public:
  RandomSource(std::uint64_t seed, std::int64_t tokens) : seed_(seed), tokens_(tokens) {}
  Result<std::vector<ShardInfo>> shards() override {
    return std::vector<ShardInfo>{{std::to_string(seed_), std::to_string(tokens_), 2 * tokens_}};
  }
  Result<std::unique_ptr<ShardReader>> open(const ShardInfo&) override {
    return std::unique_ptr<ShardReader>(std::make_unique<Reader>(seed_, tokens_));
  }

 private:
  class Reader final : public ShardReader {
   public:
    Reader(std::uint64_t seed, std::int64_t tokens) : random_(seed), left_(tokens) {}
    Result<bool> next(RawDocument& out) override {
      if (left_ <= 0) return false;
      const std::int64_t tokens = 1 + std::min<std::int64_t>(static_cast<std::int64_t>(lengths_(random_)), left_);
      left_ -= tokens;
      out = {};
      out.text.resize(static_cast<std::size_t>(2 * tokens));
      std::uint64_t bits = 0;
      for (std::size_t i = 0; i < out.text.size(); ++i) {
        if (i % 8 == 0) bits = random_();
        out.text[i] = static_cast<char>(bits >> (i % 8 * 8) & 0x7f);
      }
      return true;
    }

   private:
    std::mt19937_64 random_;
    std::lognormal_distribution<double> lengths_{6.3, 1.0};
    std::int64_t left_;
  };
  std::uint64_t seed_;
  std::int64_t tokens_;
};

class PairTokenizer final : public Tokenizer {
 public:
  [[nodiscard]] bool needs_training() const override { return false; }
  Status train(const std::function<bool(std::string&)>&) override { return {}; }
  [[nodiscard]] std::string serialize() const override { return {}; }
  Status load(std::string_view) override { return {}; }
  [[nodiscard]] std::int32_t vocabulary_size() const override { return 128 * 128 + 1; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return {-1, 128 * 128, -1, -1}; }
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) ids.push_back(text[i] * 128 + text[i + 1]);
    return {};
  }
  Status decode(const std::int32_t*, std::size_t, std::string&) const override { return unsupported("no text"); }
  Status write(const std::string&) const override { return unsupported("no files"); }
};

PrepareRequest request_of(std::int64_t tokens, const std::filesystem::path& cache) {
  PrepareRequest request;
  for (const std::int64_t part : {5, 3, 2})
    request.domains.push_back({"domain" + std::to_string(part), static_cast<double>(part), "source/random",
                               std::make_shared<RandomSource>(part, tokens * part / 10), "random 1"});
  request.tokenizer = std::make_shared<PairTokenizer>();
  request.tokenizer_id = request.tokenizer_key = "tokenizer/pairs";
  request.max_tokens = length;
  request.too_long = 1;
  request.cache = cache;
  return request;
}

std::size_t bytes_of(const HostStep& step) {
  std::size_t bytes = 0;
  for (const HostMicroBatch& micro : step.micro_batches)
    bytes += 8 * (micro.tokens.size() + micro.labels.size() + micro.position_ids.size()) + micro.loss_mask.size() +
             micro.token_mask.size() + 4 * micro.segment_ids.size();
  return bytes;
}

/// Bytes a second of copies of a step's size, from memory that was just written, as the loader's is.
double copy_rate(std::size_t bytes, std::int64_t times) {
  std::vector<char> from(bytes, 1), to(bytes, 2);
  const double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < times; ++i) {
      std::memcpy(to.data(), from.data(), bytes);
      from[static_cast<std::size_t>(i) % bytes] = to[bytes - 1];
    }
  });
  return static_cast<double>(bytes) * static_cast<double>(times) / seconds;
}

void measure(const char* name, const std::shared_ptr<const TokenStore>& store, const PlanSettings& settings,
             int workers) {
  const auto plan = need(make_batch_plan(store, settings));
  constexpr std::int64_t steps = 40;
  std::vector<double> rates, ceilings;
  for (std::int64_t round = 0; round < rounds; ++round) {
    std::int64_t tokens = 0;
    std::size_t bytes = 0;
    const double seconds = seconds_of([&] {
      const auto loader = make_loader(plan, round * steps, workers, 4);
      for (std::int64_t s = 0; s < steps; ++s) {
        const HostStep step = need(loader->next());
        for (const std::int64_t of_domain : step.domain_tokens) tokens += of_domain;
        bytes = bytes_of(step);
      }
    });
    rates.push_back(static_cast<double>(tokens) / seconds / 1e6);
    ceilings.push_back(copy_rate(bytes, steps) / static_cast<double>(bytes) * static_cast<double>(tokens) /
                       static_cast<double>(steps) / 1e6);
  }
  std::printf("loader %-28s %d thread%s %8.1f M tokens/s   memcpy of a step's bytes %8.1f\n", name,
              std::max(workers, 1), workers > 1 ? "s" : " ", median(rates), median(ceilings));
}

void run(std::int64_t tokens, const std::filesystem::path& cache) {
  PrepareReport report;
  const auto store = need(prepare(request_of(tokens, cache), report));
  std::vector<std::int32_t> ids(1 << 20); // read once: into the page cache
  for (std::size_t d = 0; d < store->domain_count(); ++d)
    for (std::int64_t at = 0; at < store->tokens(Split::train, d); at += std::ssize(ids))
      store->copy(Split::train, d, at, std::min<std::int64_t>(std::ssize(ids), store->tokens(Split::train, d) - at),
                  ids.data());

  PackTable::Request packing;
  packing.length = length;
  packing.cache = cache;
  std::shared_ptr<const PackTable> packs;
  const double packed_in = seconds_of([&] { packs = need(PackTable::make(*store, packing)); });
  std::int64_t documents = 0, held = 0, places = 0;
  for (std::size_t d = 0; d < store->domain_count(); ++d) {
    documents += store->documents(Split::train, d);
    held += store->tokens(Split::train, d);
    places += packs->packs(d) * (length + 1);
  }
  std::printf("best fit: %.2f M documents/s on one thread, synced; %.3f %% of the places are padding\n",
              static_cast<double>(documents) / packed_in / 1e6,
              100 * (1 - static_cast<double>(held) / static_cast<double>(places)));

  PlanSettings settings;
  settings.max_length = length;
  settings.global_batch = batch;
  settings.micro_batch = 8;
  for (const int workers : {1, 2}) {
    PlanSettings each = settings;
    measure("concat", store, each, workers);
    each.document_attention = true;
    measure("concat, by document", store, each, workers);
    each.packs = packs;
    measure("best fit, by document", store, each, workers);
    each.fill_in_middle = {0.5, 0.5, 1, 2, 3, {}};
    measure("the same, half rearranged", store, each, workers);
    each = settings;
    each.bucket = true;
    measure("buckets", store, each, workers);
  }
}

} // namespace
} // namespace conclave::data

int main(int count, char** arguments) {
  const std::int64_t millions = count > 1 ? std::atoll(arguments[1]) : 64;
  const auto own = std::filesystem::temp_directory_path() / ("conclave-loader-" + std::to_string(::getpid()));
  conclave::data::run(millions * 1'000'000, count > 2 ? std::filesystem::path(arguments[2]) : own);
  std::filesystem::remove_all(own);
  return 0;
}
