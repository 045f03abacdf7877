// The YAML reader: checks of the raw bytes, then yaml-cpp's events into Values.

#include "config/yaml_reader.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unordered_set>

namespace conclave {
namespace {

// Thrown inside this file to leave yaml-cpp's parser; the diagnostic is already there.
struct StopReading {};

// Where lines start, so that yaml-cpp's byte columns become columns of characters, as editors count them.
class LineIndex {
 public:
  explicit LineIndex(std::string_view text) : text_(text), starts_{0} {
    for (std::size_t i = 0; i < text.size(); ++i)
      if (text[i] == '\n') starts_.push_back(i + 1);
  }
  // Both 0-based; the result counts from 1.
  [[nodiscard]] int column(int line, int byte_column) const {
    if (line < 0 || static_cast<std::size_t>(line) >= starts_.size()) return byte_column + 1;
    const std::size_t begin = starts_[static_cast<std::size_t>(line)];
    const std::size_t end = std::min(begin + static_cast<std::size_t>(std::max(byte_column, 0)), text_.size());
    const auto characters = std::count_if(text_.begin() + static_cast<std::ptrdiff_t>(begin),
                                          text_.begin() + static_cast<std::ptrdiff_t>(end),
                                          [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    return static_cast<int>(characters) + 1;
  }

 private:
  std::string_view text_;
  std::vector<std::size_t> starts_;
};

// Length of the well-formed UTF-8 sequence at the front, or 0 (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
    return tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// What yaml-cpp would let through, or read as something else. True when the text is fit to parse.
bool check_bytes(std::string_view text, const std::shared_ptr<const std::string>& file, Diagnostics& diagnostics) {
  int line = 1, column = 1;
  bool indentation = true;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    const Location where{file, line, column};
    if (length == 0) {
      diagnostics.error(where, {}, "a byte is not UTF-8", "save the file as UTF-8");
      return false;
    }
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\t' && indentation) {
      diagnostics.error(where, {}, "a tab is used as indentation", "indent with spaces");
      return false;
    }
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F) {
      diagnostics.error(where, {}, "a control character stands in the file", "remove it");
      return false;
    }
    if (c == '\n') {
      ++line;
      column = 1;
      indentation = true;
    } else {
      ++column;
      if (c != ' ') indentation = false;
    }
    i += length;
  }
  return true;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const std::string> file, const LineIndex& lines, const YamlLimits& limits,
              Diagnostics& diagnostics)
      : file_(std::move(file)), lines_(lines), limits_(limits), diagnostics_(diagnostics) {}

  [[nodiscard]] Value take_root() { return std::move(root_); }
  [[nodiscard]] Location locate(const YAML::Mark& mark) const {
    if (mark.is_null()) return {file_, 0, 0};
    return {file_, mark.line + 1, lines_.column(mark.line, mark.column)};
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    count_node(mark);
    add(Value::null(locate(mark)));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    count_node(mark);
    error(locate(mark), "an alias (*) is not allowed in an experiment", "use vars: and ${name}, or extends:");
    add(Value::null(locate(mark)));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    refuse_anchor(mark, anchor);
    count_node(mark);
    if (text.size() > limits_.scalar_bytes) {
      error(locate(mark), "a value is longer than " + std::to_string(limits_.scalar_bytes) + " bytes",
            "put long text into a file of its own");
      throw StopReading{};
    }
    if (!tag.empty() && tag != "?" && tag != "!") refuse_tag(mark, tag);
    add(Value::scalar(text, locate(mark), tag == "!"));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, false);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, true);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    bool is_map = false;
    Location where;
    std::string tag; // !append, !prepend or ""
    std::vector<Value> items;
    std::vector<Value::Member> members;
    std::unordered_set<std::string> keys;
    bool has_key = false; // a map's key was read and its value comes next
    bool drop_value = false;
    std::string key;
    Location key_where;
  };

  void error(Location where, std::string what, std::string fix) {
    diagnostics_.error(std::move(where), {}, std::move(what), std::move(fix));
    if (++errors_ >= limits_.errors) throw StopReading{};
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0)
      error(locate(mark), "an anchor (&) is not allowed in an experiment", "use vars: and ${name}, or extends:");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    error(locate(mark), "the tag '" + tag.substr(0, 60) + "' is not allowed",
          "remove it; the known ones are !append and !prepend before a list");
  }
  void count_node(const YAML::Mark& mark) {
    if (++nodes_ <= limits_.nodes) return;
    error(locate(mark), "more than " + std::to_string(limits_.nodes) + " values", "make the file smaller");
    throw StopReading{};
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, bool is_map) {
    refuse_anchor(mark, anchor);
    count_node(mark);
    if (static_cast<int>(stack_.size()) >= limits_.depth) {
      error(locate(mark), "nested more than " + std::to_string(limits_.depth) + " levels deep", "make it flatter");
      throw StopReading{};
    }
    Frame frame;
    frame.is_map = is_map;
    frame.where = locate(mark);
    if (!is_map && (tag == append_tag || tag == prepend_tag))
      frame.tag = tag;
    else if (!tag.empty() && tag != "?" && tag != "!")
      refuse_tag(mark, tag);
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.is_map) {
      add(Value::map(std::move(frame.members), frame.where));
    } else if (Value list = Value::list(std::move(frame.items), frame.where); frame.tag.empty()) {
      add(std::move(list));
    } else {
      add(Value::map({{frame.tag, frame.where, std::move(list)}}, frame.where));
    }
  }

  void add(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = stack_.back();
    if (!frame.is_map) {
      frame.items.push_back(std::move(value));
    } else if (!frame.has_key) {
      take_key(frame, value);
    } else {
      frame.has_key = false;
      if (!frame.drop_value) frame.members.push_back({std::move(frame.key), frame.key_where, std::move(value)});
    }
  }

  void take_key(Frame& frame, const Value& key) {
    frame.has_key = true;
    frame.drop_value = true;
    frame.key = key.text();
    frame.key_where = key.where();
    if (!key.is_scalar()) {
      error(key.where(), "a key is not text", "write `key: value`");
    } else if (key.text() == "<<" && !key.quoted()) {
      error(key.where(), "the merge key << is not allowed", "use extends:");
    } else if (!frame.keys.insert(key.text()).second) {
      const auto first = std::find_if(frame.members.begin(), frame.members.end(),
                                      [&](const Value::Member& m) { return m.key == key.text(); });
      diagnostics_.error(key.where(), key.text(), "the key stands here a second time",
                         "keep one" + (first == frame.members.end()
                                           ? std::string{}
                                           : "; the first is in line " + std::to_string(first->key_where.line)));
      if (++errors_ >= limits_.errors) throw StopReading{};
    } else {
      frame.drop_value = false;
    }
  }

  std::shared_ptr<const std::string> file_;
  const LineIndex& lines_;
  const YamlLimits& limits_;
  Diagnostics& diagnostics_;
  std::vector<Frame> stack_;
  Value root_;
  std::size_t nodes_ = 0, errors_ = 0;
};

} // namespace

std::optional<Value> parse_yaml(std::string_view text, const std::string& file, Diagnostics& diagnostics,
                                const YamlLimits& limits) {
  const auto shared_file = std::make_shared<const std::string>(file);
  if (text.size() > limits.bytes) {
    diagnostics.error({shared_file, 0, 0}, {}, "larger than " + std::to_string(limits.bytes) + " bytes",
                      "an experiment is a small file; is this the right one?");
    return std::nullopt;
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3); // a byte order mark
  if (!check_bytes(text, shared_file, diagnostics)) return std::nullopt;

  const LineIndex lines(text);
  TreeBuilder builder(shared_file, lines, limits, diagnostics);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      diagnostics.error({shared_file, 1, 1}, {}, "there is nothing in this file",
                        "write an experiment; `conclave: 1` is its first line");
      return std::nullopt;
    }
    Value root = builder.take_root();
    // yaml-cpp says false at the end of the stream; anything else is another document.
    if (parser.HandleNextDocument(builder)) {
      diagnostics.error({shared_file, 0, 0}, {}, "holds more than one YAML document (---)",
                        "keep one document in a file");
      return std::nullopt;
    }
    return root;
  } catch (const StopReading&) {
    return std::nullopt;
  } catch (const YAML::Exception& problem) {
    diagnostics.error(builder.locate(problem.mark), {}, "not YAML: " + problem.msg,
                      "see the line before, too: an open quote or bracket, or a wrong indentation");
    return std::nullopt;
  }
}

std::optional<Value> read_yaml(const std::string& path, Diagnostics& diagnostics, const YamlLimits& limits) {
  const Location whole_file{std::make_shared<const std::string>(path), 0, 0};
  std::ifstream stream(path, std::ios::binary);
  std::string text(limits.bytes + 1, '\0');
  if (stream) stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad() || (stream.gcount() == 0 && !stream.eof())) {
    std::error_code failed;
    if (std::filesystem::is_directory(path, failed))
      diagnostics.error(whole_file, {}, "is a folder", "name a YAML file in it");
    else if (const auto status = std::filesystem::status(path, failed);
             status.type() == std::filesystem::file_type::not_found)
      diagnostics.error(whole_file, {}, "there is no such file", "check the path");
    else
      diagnostics.error(whole_file, {}, "cannot be read", "check its permissions");
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return parse_yaml(text, path, diagnostics, limits);
}

} // namespace conclave
