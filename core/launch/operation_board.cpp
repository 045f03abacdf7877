// One lock: an operation takes far longer than to note it.

#include "launch/operation_board.hpp"

#include <algorithm>

namespace conclave {

std::size_t OperationBoard::add_sequence(std::string name, std::vector<int> ranks) {
  const std::scoped_lock lock(mutex_);
  sequences_.push_back({std::move(name), std::move(ranks)});
  return sequences_.size() - 1;
}

std::uint64_t OperationBoard::issue(std::size_t sequence, const char* operation) {
  const std::scoped_lock lock(mutex_);
  sequences_[sequence].last = operation;
  return ++sequences_[sequence].issued;
}

OperationBoard::Picture OperationBoard::picture() const {
  const std::scoped_lock lock(mutex_);
  Picture picture{sequences_, std::nullopt};
  if (!waits_.empty()) {
    picture.wait = waits_.front().second;
  } else if (device_probe_) {
    picture.wait = device_probe_();
  }
  return picture;
}

std::string OperationBoard::name_of(std::size_t sequence) const {
  const std::scoped_lock lock(mutex_);
  return sequences_[sequence].name;
}

void OperationBoard::set_device_probe(std::function<std::optional<Wait>()> probe) {
  const std::scoped_lock lock(mutex_);
  device_probe_ = std::move(probe);
}

OperationBoard::Waiting::Waiting(OperationBoard& board, std::size_t sequence, const char* operation,
                                 std::uint64_t number)
    : board_(board) {
  const std::scoped_lock lock(board_.mutex_);
  ticket_ = board_.tickets_++;
  board_.waits_.push_back({ticket_, {sequence, operation, number, Clock::now()}});
}

OperationBoard::Waiting::~Waiting() {
  const std::scoped_lock lock(board_.mutex_);
  std::erase_if(board_.waits_, [this](const auto& wait) { return wait.first == ticket_; });
}

} // namespace conclave
