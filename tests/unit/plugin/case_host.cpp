// The smallest host of the conformance suite: answers --probe and --conformance-case.
#include "plugin/conformance/suite.hpp"
#include "plugin/probe.hpp"

int main(int argc, char** argv) {
  conclave::run_probe_mode(argc, argv);
  return conclave::run_conformance_mode(argc, argv).value_or(64);
}
