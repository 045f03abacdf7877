// RunFiles: a run directory as it grows.
//
// Reads metrics.jsonl from where it was last left, a row at a time; a last line without its end waits for the next time. Rows of
// an earlier attempt beyond the step where a later one began are dropped, as the file's format says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "top/view.hpp"

namespace conclave::top {

class RunFiles final : public Source {
 public:
  /// `directory` must hold metrics.jsonl when refresh() is called.
  explicit RunFiles(std::filesystem::path directory);
  ~RunFiles() override;
  Status refresh(View& view) override;

 private:
  struct Parser;
  void take(const std::string& line, View& view);
  void read_exits(View& view) const;

  std::filesystem::path directory_;
  std::unique_ptr<Parser> parser_;
  std::int64_t read_ = 0;       ///< bytes of the file that are dealt with
  std::vector<double> seconds_; ///< of the latest steps
  std::string last_step_;       ///< the newest row of a step that this refresh() found
};

} // namespace conclave::top
