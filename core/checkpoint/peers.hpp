// Peers: how the ranks of a run talk about a checkpoint. Small texts, no tensors.
//
// What this is: the two exchanges that a collective save or open is made of; the run implements them over what it met its
// peers with. What this is not: a barrier. broadcast() may return on rank 0 before anybody has asked.
//
// Every rank makes the same calls in the same order for a key: the n-th call with a key meets the n-th call of the others
// with it. They wait as long as the others are alive, since a share of a checkpoint may take minutes to write. When a rank
// is lost or does not answer, the error is Code::peer_lost and its `what` names the ranks; a key may then be used again.
//
// Threading: any thread; two threads at a time use two keys.
#pragma once

#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

class Peers {
 public:
  virtual ~Peers() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  /// Rank 0 gets every rank's text in rank order, its own among them; the others get an empty vector, maybe before rank 0
  /// has it. `key` is a short name for messages too, e.g. `checkpoint/save/parts`.
  virtual Result<std::vector<std::string>> gather(const std::string& key, const std::string& text) = 0;
  /// Rank 0's text on every rank; that of the others is ignored.
  virtual Result<std::string> broadcast(const std::string& key, const std::string& text) = 0;
};

} // namespace conclave
