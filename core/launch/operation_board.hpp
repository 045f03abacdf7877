// OperationBoard: which collective this rank is in, for whoever has to say why a run stands still.
//
// A sequence is what some ranks do together in one order: the collectives of a group, or the sends from one rank to another.
// Every rank of it counts the calls, so that two ranks' boards show which of them has not made a call that the other waits
// for.
//
// Threading: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace conclave {

class OperationBoard {
 public:
  using Clock = std::chrono::steady_clock;

  struct Sequence {
    std::string name;         ///< "data" or "pipeline 1>3"
    std::vector<int> ranks;   ///< of the run
    std::uint64_t issued = 0; ///< calls so far; the first has number 1
    const char* last = "";    ///< the last call
  };
  struct Wait {
    std::size_t sequence = 0;
    const char* operation = "";
    std::uint64_t number = 0;
    Clock::time_point since;
  };
  struct Picture {
    std::vector<Sequence> sequences;
    std::optional<Wait> wait; ///< the longest, while a thread waits; else what the device has not finished
  };

  /// Returns its number here.
  std::size_t add_sequence(std::string name, std::vector<int> ranks);
  /// A call begins; returns its number. `operation` is a literal.
  std::uint64_t issue(std::size_t sequence, const char* operation);
  [[nodiscard]] Picture picture() const;
  /// Asked when no thread waits: the oldest operation that is under way on a GPU, where the host does not wait. Must be safe
  /// from any thread and take no lock that is held while the board is called.
  void set_device_probe(std::function<std::optional<Wait>()> probe);

  /// Told of each operation between CPUs when it has ended, on a thread of its own: the sequence's name, the operation, and
  /// from when it was under way. Set before the first operation; null: nobody asks.
  using SpanHook = std::function<void(const std::string& sequence, const char* operation, Clock::time_point begin,
                                      Clock::time_point end)>;
  void set_span_hook(SpanHook hook) { span_hook_ = std::move(hook); }
  [[nodiscard]] const SpanHook& span_hook() const noexcept { return span_hook_; }
  [[nodiscard]] std::string name_of(std::size_t sequence) const;

  /// A thread waits for that call as long as this lives.
  class Waiting {
   public:
    Waiting(OperationBoard& board, std::size_t sequence, const char* operation, std::uint64_t number);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    OperationBoard& board_;
    std::uint64_t ticket_;
  };

 private:
  mutable std::mutex mutex_;
  std::vector<Sequence> sequences_;
  std::vector<std::pair<std::uint64_t, Wait>> waits_; ///< by ticket, the oldest first
  std::uint64_t tickets_ = 0;
  std::function<std::optional<Wait>()> device_probe_;
  SpanHook span_hook_;
};

} // namespace conclave
