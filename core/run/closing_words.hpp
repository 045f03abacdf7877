// closing_words(): what to try after a run, as commands that can be pasted into a shell.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

struct ClosingFacts {
  std::filesystem::path program;      ///< this executable
  std::string experiment;             ///< the file, as the user named it
  std::vector<std::string> overrides; ///< values of --set, in order
  std::string member;                 ///< value of --member; "" outside of a sweep
  std::string device;                 ///< value of --device
  int ranks = 0;                      ///< value of --ranks; 0: another launcher started the ranks, or there is one
  std::filesystem::path run_directory;
  bool finished = false;    ///< all steps are done
  bool exports = false;     ///< the model has a Hugging Face form
  bool tensorboard = false; ///< the run wrote event files
};

/// One command a line, the most useful first.
std::vector<std::string> closing_words(const ClosingFacts& facts);

/// A word as a POSIX shell reads it back: unchanged where it holds nothing special, else in single quotes.
std::string shell_word(std::string_view text);

} // namespace conclave
