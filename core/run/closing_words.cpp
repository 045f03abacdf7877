// The commands at the end of a run.

#include "run/closing_words.hpp"

namespace conclave {

std::string shell_word(std::string_view text) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  if (!text.empty() && text.find_first_not_of(plain) == std::string_view::npos) return std::string(text);
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''"; // ends the quotes, an escaped quote, opens them again
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::vector<std::string> closing_words(const ClosingFacts& facts) {
  const std::string program = shell_word(facts.program.string()), run = shell_word(facts.run_directory.string());
  std::string overrides;
  for (const std::string& text : facts.overrides) overrides += " --set " + shell_word(text);
  const std::string member = facts.member.empty() ? "" : " --member " + shell_word(facts.member);
  const std::string experiment = shell_word(facts.experiment) + member + overrides;
  if (!facts.finished) {
    const std::string device = facts.device == "auto" ? "" : " --device " + facts.device;
    const std::string ranks = facts.ranks > 1 ? " --ranks " + std::to_string(facts.ranks) : "";
    return {program + " run " + experiment + device + ranks + " --run-dir " + run + " --resume"};
  }
  std::vector<std::string> commands;
  if (facts.exports) commands.push_back(program + " export " + run + " --to hf " + run + "/hf");
  if (facts.tensorboard) commands.push_back("tensorboard --logdir " + run);
  // A member's values are a run's alone: `config show` of the file has those of the experiment without its sweep.
  commands.push_back(program + " config show " + (facts.member.empty() ? experiment : run + "/resolved.yaml"));
  return commands;
}

} // namespace conclave
