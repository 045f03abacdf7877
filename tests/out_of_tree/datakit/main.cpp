// Reads its own text back through the data kit; links zlib and zstd through it.
#include <cstdio>
#include <fstream>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/utf8.hpp"

int main() {
  std::ofstream("lines.txt") << "one\ntwo\n";
  auto stream = conclave::datakit::open_bytes("lines.txt");
  std::string text;
  if (!stream.ok() || !conclave::datakit::read_all(**stream, 100, text).ok() || text != "one\ntwo\n") {
    std::fprintf(stderr, "read '%s'\n", text.c_str());
    return 1;
  }
  return conclave::datakit::step_utf8(text, 0).code == U'o' ? 0 : 1;
}
