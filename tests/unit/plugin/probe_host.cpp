// The smallest host: answers --probe and nothing else.
#include "plugin/probe.hpp"

int main(int argc, char** argv) { return conclave::run_probe_mode(argc, argv).value_or(64); }
