// Judge: from the ranks' signs of life to the one that is to blame.
//
// What this is: the watchdog's rules without its threads and store, so that a test can say what was seen and when. `now` is
// in seconds on any clock that does not go back.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace conclave {

/// What a rank says of itself.
struct SignOfLife {
  struct Wait {
    std::string sequence;   ///< OperationBoard::Sequence
    std::vector<int> ranks; ///< of the sequence
    std::string operation;
    std::uint64_t number = 0;
    double seconds = 0; ///< so far
  };
  std::uint64_t number = 0; ///< grows with each sign
  std::string host;
  std::int64_t process = 0, step = 0;
  std::string doing; ///< "" when it does not say
  std::optional<Wait> wait;
  std::map<std::string, std::uint64_t> issued; ///< calls so far, by sequence_key()
  bool broken = false;                         ///< a connection of its groups broke
  std::optional<int> left;                     ///< the exit code that it ended with
  std::string reason;                          ///< for that

  [[nodiscard]] std::string encode() const;
  static std::optional<SignOfLife> decode(const std::string& text);
};

/// The same on every rank of a sequence, and different for two sequences of one name.
std::string sequence_key(const std::string& name, const std::vector<int>& ranks);

class Judge {
 public:
  struct Limits {
    double lost_after = 20; ///< without a sign of life
    double timeout = 600;   ///< for one collective
  };
  Judge(Limits limits, int ranks) : limits_(limits), seen_(static_cast<std::size_t>(ranks)) {}

  void see(int rank, SignOfLife sign, double now);
  /// What to tell everybody, when there is something. `all_seen`: the ranks that have not been seen are as good as silent for
  /// nobody; only a judge that sees all can say who holds up a collective.
  [[nodiscard]] std::optional<std::string> verdict(double now, bool all_seen) const;
  /// "rank 3 (host node7, process 4242), last seen in step 118, ..."; what is known of a rank.
  [[nodiscard]] std::string describe(int rank) const;

 private:
  struct Seen {
    std::optional<SignOfLife> sign;
    double since = 0; ///< when the sign last changed
  };
  [[nodiscard]] const Seen& seen(int rank) const { return seen_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] std::string name(int rank) const;
  [[nodiscard]] std::string activity(int rank) const;
  [[nodiscard]] std::optional<std::string> ended_badly(double now, bool lost_too) const;
  [[nodiscard]] std::optional<std::string> silent(double now) const;
  [[nodiscard]] std::optional<std::string> hung() const;
  [[nodiscard]] std::vector<int> behind(const SignOfLife::Wait& wait) const;

  Limits limits_;
  std::vector<Seen> seen_;
};

} // namespace conclave
