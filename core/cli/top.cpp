// conclave top: a run as it goes on, in a terminal.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "cli/verbs.hpp"
#include "top/endpoint.hpp"
#include "top/frame.hpp"
#include "top/run_files.hpp"
#include "top/terminal.hpp"

namespace conclave {
namespace {

struct TopArguments {
  std::string run;
  bool once = false;
  double seconds = 1;
};

int execute(const TopArguments& arguments) {
  const bool url = arguments.run.find("://") != std::string::npos;
  const std::unique_ptr<top::Source> source =
      url ? std::unique_ptr<top::Source>(std::make_unique<top::Endpoint>(arguments.run))
          : std::make_unique<top::RunFiles>(arguments.run);
  top::View view;
  if (const Status read = source->refresh(view); !read.ok()) return report(read.error());
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  if (arguments.once || !terminal || ::isatty(STDIN_FILENO) == 0) {
    for (const std::string& line : top::render(view, top::terminal_size(), terminal)) std::printf("%s\n", line.c_str());
    return 0;
  }
  const top::Terminal screen;
  const auto between = std::chrono::milliseconds(static_cast<std::int64_t>(arguments.seconds * 1000));
  std::string trouble;
  do {
    screen.show(top::render(view, top::terminal_size(), true, trouble));
    if (!screen.wait(between)) return 0;
    const Status read = source->refresh(view);
    trouble =
        read.ok() ? "" : read.error().render(); // a run that ends takes its endpoint with it: the last frame stays
  } while (true);
}

} // namespace

void add_top_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<TopArguments>();
  CLI::App* verb = app.add_subcommand("top", "Watch a run: curves, experts, ranks, time left");
  verb->add_option("run", arguments->run, "A run directory, or the address of its metrics: http://host:port/metrics")
      ->required();
  verb->add_flag("--once", arguments->once, "Print one frame and end; so it is where there is no terminal");
  verb->add_option("--every", arguments->seconds, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments); });
}

} // namespace conclave
