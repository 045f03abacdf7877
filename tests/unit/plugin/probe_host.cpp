// The smallest host: answers --probe and nothing else.
#include "plugin/probe.hpp"

int main(int argc, char** argv) {
  conclave::run_probe_mode(argc, argv);
  return 64;
}
