// CPU kernel: router scores, top-k, weights, load-balance and z losses, and their gradient. Rows are short (one element an
// expert), so everything about a token happens while its row is in registers or the first cache.

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "conclave/ops/router.hpp"
#include "cpu_kernels.hpp"
#include "cpu_math.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;

/// Scores of one token, and logsumexp of its logits. `shares` are the scores normalised to sum 1: the softmax itself, or
/// sigmoids over their sum.
template <class T>
struct Token {
  std::vector<T> score, share, softmax;
  T lse = 0, sum = 1; ///< sum: what sigmoids were divided by

  explicit Token(Index experts)
      : score(static_cast<std::size_t>(experts)), share(score.size()), softmax(score.size()) {}

  void read(const RouterShape& s, const T* logits) {
    T top = -std::numeric_limits<T>::infinity(), total = 0;
    for (Index e = 0; e < s.experts; ++e) top = std::max(top, logits[e]);
    for (std::size_t e = 0; e < score.size(); ++e) total += softmax[e] = exponential(logits[e] - top);
    for (T& p : softmax) p /= total;
    lse = top + std::log(total);
    if (s.softmax) {
      score = share = softmax;
      return;
    }
    sum = static_cast<T>(1e-20); // all sigmoids may underflow
    for (std::size_t e = 0; e < score.size(); ++e) sum += score[e] = sigmoid(logits[e]);
    for (std::size_t e = 0; e < score.size(); ++e) share[e] = score[e] / sum;
  }
};

template <class T>
void choose(const RouterShape& s, const Token<T>& token, const T* bias, std::int64_t* chosen, std::vector<T>& rank) {
  for (std::size_t e = 0; e < rank.size(); ++e) rank[e] = token.score[e] + (bias != nullptr ? bias[e] : T{0});
  for (Index k = 0; k < s.top_k; ++k) {
    // Strictly greater: ties go to the lower expert. Not finite logits still choose distinct experts.
    Index best = -1;
    for (Index e = 0; e < s.experts; ++e) {
      bool taken = false;
      for (Index j = 0; j < k; ++j) taken = taken || chosen[j] == e;
      if (!taken && (best < 0 || rank[static_cast<std::size_t>(e)] > rank[static_cast<std::size_t>(best)])) best = e;
    }
    chosen[k] = best;
  }
}

/// The balance loss, linear in the scores: sequence b's part of it is E/K sum_e load_e mass_e / divisor, with mass_e the
/// sum of e's shares over its real tokens. Where f is of n tokens, its shares are load / (K n).
class Balance {
 public:
  struct Term {
    const std::int64_t* load;
    double divisor;
  };

  Balance(const RouterShape& s, const std::int64_t* load, const std::int64_t* previous_load) : s_(s), load_(load) {
    if (s.balance_scope == BalanceScope::batch_lagged) {
      whole_ = {previous_load, tokens_of(previous_load)}; // the host divides by this batch's tokens
    } else if (s.balance_scope == BalanceScope::micro_batch) {
      total_.assign(static_cast<std::size_t>(s.experts), 0);
      for (Index i = 0; i < s.sequences * s.experts; ++i) total_[static_cast<std::size_t>(i % s.experts)] += load[i];
      const double n = tokens_of(total_.data());
      whole_ = {total_.data(), n * n / static_cast<double>(s.sequences)};
    }
  }
  Balance(const Balance&) = delete;
  Balance& operator=(const Balance&) = delete;

  [[nodiscard]] Term of(Index sequence) const {
    if (whole_.load != nullptr) return whole_;
    const std::int64_t* own = load_ + sequence * s_.experts;
    const double n = tokens_of(own);
    return {own, n * n};
  }

 private:
  /// At least 1: a sequence of padding alone divides by it.
  [[nodiscard]] double tokens_of(const std::int64_t* load) const {
    const std::int64_t pairs = std::accumulate(load, load + s_.experts, std::int64_t{0});
    return std::max(1.0, static_cast<double>(pairs) / static_cast<double>(s_.top_k));
  }

  const RouterShape& s_;
  const std::int64_t* load_;
  std::vector<std::int64_t> total_;
  Term whole_{nullptr, 0}; ///< of every sequence, unless each has its own
};

} // namespace

template <class T>
void router_forward(const RouterShape& s, const T* logits, const T* bias, const bool* real,
                    const std::int64_t* previous_load, T* weights, std::int64_t* chosen, std::int64_t* load,
                    double* balance_loss, double* z_loss) {
  const auto experts = static_cast<std::size_t>(s.experts);
  std::vector<double> z(static_cast<std::size_t>(s.sequences)), masses(z.size() * experts);
  at::parallel_for(0, s.sequences, 1, [&](Index first, Index last) {
    Token<T> token(s.experts);
    std::vector<T> rank(token.score.size());
    for (Index b = first; b < last; ++b) {
      double* mass = masses.data() + b * s.experts;
      std::fill_n(load + b * s.experts, s.experts, 0);
      for (Index t = b * s.length; t < (b + 1) * s.length; ++t) {
        token.read(s, logits + t * s.experts);
        std::int64_t* picks = chosen + t * s.top_k;
        choose(s, token, bias, picks, rank);
        T total = s.normalise ? static_cast<T>(1e-20) : T{1};
        for (Index k = 0; s.normalise && k < s.top_k; ++k) total += token.score[static_cast<std::size_t>(picks[k])];
        for (Index k = 0; k < s.top_k; ++k) {
          weights[t * s.top_k + k] =
              token.score[static_cast<std::size_t>(picks[k])] / total * static_cast<T>(s.scaling);
        }
        if (real != nullptr && !real[t]) continue;
        for (Index k = 0; k < s.top_k; ++k) ++load[b * s.experts + picks[k]];
        for (std::size_t e = 0; e < experts; ++e) mass[e] += static_cast<double>(token.share[e]);
        z[static_cast<std::size_t>(b)] += static_cast<double>(token.lse) * static_cast<double>(token.lse);
      }
    }
  });
  const Balance balance(s, load, previous_load);
  *balance_loss = *z_loss = 0;
  for (Index b = 0; b < s.sequences; ++b) {
    const auto [counts, divisor] = balance.of(b);
    double sum = 0;
    for (Index e = 0; e < s.experts; ++e)
      sum += static_cast<double>(counts[e]) * masses[static_cast<std::size_t>(b * s.experts + e)];
    *balance_loss += sum / divisor * static_cast<double>(s.experts) / static_cast<double>(s.top_k);
    *z_loss += z[static_cast<std::size_t>(b)];
  }
}

template <class T>
void router_backward(const RouterShape& s, const T* logits, const bool* real, const std::int64_t* previous_load,
                     const std::int64_t* chosen, const std::int64_t* load, const T* dweights, double dbalance,
                     double dz, T* dlogits) {
  const Balance balance(s, load, previous_load);
  at::parallel_for(0, s.sequences * s.length, 256, [&](Index begin, Index end) {
    Token<T> token(s.experts);
    std::vector<T> dscore(token.score.size()), dshare(token.score.size());
    for (Index t = begin; t < end; ++t) {
      const bool counts = real == nullptr || real[t];
      token.read(s, logits + t * s.experts);
      std::fill(dscore.begin(), dscore.end(), T{0});
      // Chosen weights: w_k = scaling s_k / total.
      const std::int64_t* picks = chosen + t * s.top_k;
      T total = s.normalise ? static_cast<T>(1e-20) : T{1}, along = 0;
      for (Index k = 0; s.normalise && k < s.top_k; ++k) total += token.score[static_cast<std::size_t>(picks[k])];
      for (Index k = 0; s.normalise && k < s.top_k; ++k) {
        along += dweights[t * s.top_k + k] * token.score[static_cast<std::size_t>(picks[k])] / total;
      }
      for (Index k = 0; k < s.top_k; ++k) {
        dscore[static_cast<std::size_t>(picks[k])] +=
            static_cast<T>(s.scaling) * (dweights[t * s.top_k + k] - along) / total;
      }
      if (counts && dbalance != 0) {
        const Balance::Term term = balance.of(t / s.length);
        const double factor = dbalance * static_cast<double>(s.experts) / static_cast<double>(s.top_k) / term.divisor;
        T mean = 0;
        for (std::size_t e = 0; e < dshare.size(); ++e) {
          dshare[e] = static_cast<T>(factor * static_cast<double>(term.load[e]));
          mean += dshare[e] * token.share[e];
        }
        for (std::size_t e = 0; e < dshare.size(); ++e)
          dscore[e] += s.softmax ? dshare[e] : (dshare[e] - mean) / token.sum;
      }
      T* out = dlogits + t * s.experts;
      if (s.softmax) {
        T mean = 0;
        for (std::size_t e = 0; e < dscore.size(); ++e) mean += dscore[e] * token.score[e];
        for (std::size_t e = 0; e < dscore.size(); ++e) out[e] = token.score[e] * (dscore[e] - mean);
      } else {
        for (std::size_t e = 0; e < dscore.size(); ++e) out[e] = dscore[e] * token.score[e] * (T{1} - token.score[e]);
      }
      if (counts && dz != 0) {
        const T factor = static_cast<T>(2 * dz) * token.lse;
        for (std::size_t e = 0; e < dscore.size(); ++e) out[e] += factor * token.softmax[e];
      }
    }
  });
}

#define CONCLAVE_INSTANTIATE(T)                                                                                      \
  template void router_forward(const RouterShape&, const T*, const T*, const bool*, const std::int64_t*, T*,         \
                               std::int64_t*, std::int64_t*, double*, double*);                                      \
  template void router_backward(const RouterShape&, const T*, const bool*, const std::int64_t*, const std::int64_t*, \
                                const std::int64_t*, const T*, double, double, T*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
