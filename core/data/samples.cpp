// Rows of tokens, labels and masks from the store's stream.

#include "data/samples.hpp"

#include <algorithm>

namespace conclave::data {

DomainSamples::DomainSamples(const TokenStore& store, const PlanSettings& settings, std::size_t domain,
                             std::int64_t length)
    : store_(&store),
      domain_(domain),
      split_(settings.split),
      kind_(settings.bucket  ? Kind::document
            : settings.packs ? Kind::pack
                             : Kind::window),
      document_attention_(settings.document_attention && !settings.bucket),
      length_(length),
      packs_(settings.packs),
      fill_in_middle_(settings.fill_in_middle),
      rearranges_(settings.fill_in_middle.applies(domain)),
      end_token_(store.special_tokens().end),
      random_(settings.seed, "data/fill-in-middle/" + store.domain_name(domain)) {
  switch (kind_) {
    case Kind::window: count_ = std::max<std::int64_t>(0, (store.tokens(split_, domain) - 1) / length); break;
    case Kind::document: count_ = store.documents(split_, domain); break;
    case Kind::pack: count_ = packs_->packs(domain); break;
  }
}

std::int64_t DomainSamples::document_at(std::int64_t position) const {
  std::int64_t low = 0, high = store_->documents(split_, domain_); // start(low) <= position < start(high)
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (start(middle) <= position ? low : high) = middle;
  }
  return low;
}

SampleSize DomainSamples::size(std::int64_t sample) const {
  std::int64_t tokens = length_ + 1, boundaries = 0;
  switch (kind_) {
    case Kind::window:
      if (document_attention_) boundaries = document_at((sample + 1) * length_) - document_at(sample * length_);
      break;
    case Kind::document: tokens = std::min(tokens, start(sample + 1) - start(sample)); break;
    case Kind::pack: {
      tokens = 0;
      const auto [first, last] = packs_->entries(domain_, sample);
      for (std::int64_t entry = first; entry < last; ++entry) {
        const std::int64_t document = packs_->document(domain_, entry);
        tokens += start(document + 1) - start(document);
      }
      boundaries = last - first - 1;
      break;
    }
  }
  return {std::max<std::int64_t>(tokens - 1, 1), tokens - 1 - (document_attention_ ? boundaries : 0)};
}

std::vector<std::int64_t> DomainSamples::documents(std::int64_t sample) const {
  std::vector<std::int64_t> all;
  switch (kind_) {
    case Kind::window: {
      const std::int64_t last = sample * length_ + length_; // the last label
      for (std::int64_t d = document_at(sample * length_); start(d) <= last; ++d) all.push_back(d);
      break;
    }
    case Kind::document: all.push_back(sample); break;
    case Kind::pack: {
      const auto [first, last] = packs_->entries(domain_, sample);
      for (std::int64_t entry = first; entry < last; ++entry) all.push_back(packs_->document(domain_, entry));
      break;
    }
  }
  return all;
}

void DomainSamples::append(std::int64_t first, std::int64_t count, SampleTokens& out) const {
  const std::size_t at = out.ids.size();
  out.ids.resize(at + static_cast<std::size_t>(count));
  store_->copy(split_, domain_, first, count, out.ids.data() + at);
}

void DomainSamples::read(std::int64_t sample, SampleTokens& out) const {
  out.ids.clear();
  out.starts.clear();
  switch (kind_) {
    case Kind::window: {
      const std::int64_t first = sample * length_, last = first + length_ + 1;
      append(first, last - first, out);
      if (!document_attention_ && !rearranges_) break;
      for (std::int64_t next = document_at(first) + 1; start(next) < last; ++next)
        out.starts.push_back(start(next) - first);
      break;
    }
    case Kind::document: append(start(sample), std::min(length_ + 1, start(sample + 1) - start(sample)), out); break;
    case Kind::pack: {
      const auto [first, last] = packs_->entries(domain_, sample);
      for (std::int64_t entry = first; entry < last; ++entry) {
        if (entry > first) out.starts.push_back(static_cast<std::int64_t>(out.ids.size()));
        const std::int64_t document = packs_->document(domain_, entry);
        append(start(document), start(document + 1) - start(document), out);
      }
      break;
    }
  }
}

void DomainSamples::rearrange(std::int64_t pass, std::int64_t sample, SampleTokens& tokens) const {
  // A number of its own for every document of every sample of every pass.
  const auto row = static_cast<std::uint64_t>(pass * count_ + sample);
  std::uint64_t number = row * static_cast<std::uint64_t>(length_ + 1);
  for (std::size_t document = 0; document <= tokens.starts.size(); ++document, ++number) {
    const auto first = document == 0 ? std::size_t{0} : static_cast<std::size_t>(tokens.starts[document - 1]);
    auto last =
        document == tokens.starts.size() ? tokens.ids.size() : static_cast<std::size_t>(tokens.starts[document]);
    if (end_token_ >= 0 && last > first && tokens.ids[last - 1] == end_token_) --last;
    fill_in_middle(fill_in_middle_, random_.block(number), std::span(tokens.ids).subspan(first, last - first));
  }
}

namespace {

/// Segments, positions that start again, and no label across: of documents that begin at `starts`. Padding is one more segment.
void mark_documents(const SampleTokens& tokens, std::int64_t cell, HostMicroBatch& micro) {
  const auto end = static_cast<std::int64_t>(tokens.ids.size()) - 1; // of the inputs
  std::int32_t segment = 0;
  std::int64_t first = 0;
  const auto mark = [&](std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
      const auto at = static_cast<std::size_t>(cell + t);
      micro.segment_ids[at] = segment;
      micro.position_ids[at] = t - first; // a window that begins inside a document counts from its own beginning
    }
    first = last;
    ++segment;
  };
  for (const std::int64_t next : tokens.starts) {
    const auto before = static_cast<std::size_t>(cell + next - 1); // its label would be the next document's first token
    micro.loss_mask[before] = 0;
    micro.labels[before] = 0;
    mark(std::min(next, end));
  }
  if (first < end) mark(end);
  if (end < micro.length) mark(micro.length);
}

} // namespace

void DomainSamples::fill(std::int64_t pass, std::int64_t sample, std::int64_t row, HostMicroBatch& micro,
                         SampleTokens& tokens) const {
  read(sample, tokens);
  if (rearranges_) rearrange(pass, sample, tokens);
  const auto& ids = tokens.ids;
  const auto labels = static_cast<std::int64_t>(ids.size()) - 1, inputs = std::max<std::int64_t>(labels, 1);
  const std::int64_t cell = row * micro.length;
  std::copy(ids.begin(), ids.begin() + inputs, micro.tokens.begin() + cell);
  std::copy(ids.begin() + 1, ids.end(), micro.labels.begin() + cell);
  std::fill_n(micro.loss_mask.begin() + cell, labels, std::uint8_t{1});
  if (!micro.token_mask.empty()) std::fill_n(micro.token_mask.begin() + cell, inputs, std::uint8_t{1});
  if (!micro.segment_ids.empty())
    mark_documents(tokens, cell, micro);
  else
    for (std::int64_t t = 0; t < micro.length; ++t) micro.position_ids[static_cast<std::size_t>(cell + t)] = t;
}

} // namespace conclave::data
