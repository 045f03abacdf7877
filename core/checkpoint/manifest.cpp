// Manifest to JSON and back.

#include "checkpoint/manifest.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "checkpoint/dtypes.hpp"
#include "checkpoint/verified_files.hpp"
#include "io/digest.hpp"

namespace conclave {
namespace {

using Json = nlohmann::json;

constexpr std::string_view format_name = "conclave-checkpoint";
constexpr std::string_view checksum_prefix = "{\n  \"checksum\": \"xxh3-128:";
constexpr std::size_t checksum_digits = 32;

std::string checksum_of(std::string_view text) {
  Digest digest;
  const std::string zeros(checksum_digits, '0');
  for (const std::string_view part : {text.substr(0, checksum_prefix.size()), std::string_view(zeros),
                                      text.substr(checksum_prefix.size() + checksum_digits)})
    digest.bytes(part.data(), part.size());
  return digest.hex();
}

// ---- scalars that JSON cannot hold as they are ----

Json encode_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

bool decode_real(const Json& value, double& out) {
  if (value.is_number()) {
    out = value.get<double>();
    return true;
  }
  if (value == "nan")
    out = std::numeric_limits<double>::quiet_NaN();
  else if (value == "inf")
    out = std::numeric_limits<double>::infinity();
  else if (value == "-inf")
    out = -std::numeric_limits<double>::infinity();
  else
    return false;
  return true;
}

bool is_utf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

std::string to_hex(const std::string& bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

bool from_hex(const std::string& text, std::string& out) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  if (text.size() % 2 != 0) return false;
  out.clear();
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high * 16 + low);
  }
  return true;
}

Json encode_state(const ManifestState& state) {
  struct Visitor {
    Json operator()(std::int64_t value) const { return {{"integer", value}}; }
    Json operator()(double value) const { return {{"real", encode_real(value)}}; }
    Json operator()(const std::string& value) const {
      return is_utf8(value) ? Json{{"text", value}} : Json{{"hex", to_hex(value)}};
    }
    Json operator()(const ManifestArray& value) const {
      return {
          {"array", {{"dtype", value.dtype}, {"shape", value.shape}, {"file", value.file}, {"begin", value.begin}}}};
    }
  };
  return std::visit(Visitor{}, state);
}

void append_member(std::string& text, const char* key, const Json& value) {
  text += ",\n  \"" + std::string(key) + "\": " + value.dump();
}

/// One member a line: short enough to read, and a diff of two manifests shows the tensor that differs.
void append_map(std::string& text, const char* key, const Json& value) {
  text += ",\n  \"" + std::string(key) + "\": {";
  const char* separator = "\n    ";
  for (const auto& [name, item] : value.items()) {
    text += separator + Json(name).dump() + ": " + item.dump();
    separator = ",\n    ";
  }
  text += value.empty() ? "}" : "\n  }";
}

/// Reads fields of untrusted JSON. The first problem is kept and makes every later read harmless.
class Decoder {
 public:
  explicit Decoder(const std::filesystem::path& path) : path_(path) {}

  [[nodiscard]] bool good() const { return wrong_.empty(); }
  [[nodiscard]] Error error() const {
    return storage_error("not a valid manifest: " + wrong_, "use another checkpoint", path_.string());
  }
  void fail(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }

  const Json& member(const Json& object, const char* key) {
    static const Json missing;
    if (object.is_object())
      if (const auto found = object.find(key); found != object.end()) return *found;
    fail(std::string("'") + key + "' is missing");
    return missing;
  }
  const Json& object(const Json& parent, const char* key) {
    const Json& value = member(parent, key);
    if (good() && !value.is_object()) fail(std::string("'") + key + "' is not a map");
    return value;
  }
  std::string text(const Json& parent, const char* key) {
    const Json& value = member(parent, key);
    if (value.is_string()) return value.get<std::string>();
    fail(std::string("'") + key + "' is not text");
    return {};
  }
  std::int64_t size(const Json& value, const char* what) {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX))
      return value.get<std::int64_t>();
    fail(std::string("'") + what + "' is not a size");
    return 0;
  }
  std::vector<std::int64_t> sizes(const Json& parent, const char* key) {
    const Json& value = member(parent, key);
    std::vector<std::int64_t> out;
    if (!value.is_array())
      fail(std::string("'") + key + "' is not a list");
    else
      for (const Json& item : value) out.push_back(size(item, key));
    return out;
  }

  /// A range of `dtype` x `shape` at parent.begin of parent.file, which the manifest must list.
  void range(const Json& parent, const std::string& dtype, const std::vector<std::int64_t>& shape,
             const Manifest& manifest, std::string& file, std::int64_t& begin) {
    file = text(parent, "file");
    begin = size(member(parent, "begin"), "begin");
    if (!good()) return;
    const DtypeInfo* info = find_dtype(dtype);
    if (!info) return fail("unknown dtype '" + dtype.substr(0, 20) + "'");
    const auto bytes = byte_count(shape, info->bytes);
    const auto found = manifest.files.find(file);
    if (found == manifest.files.end()) return fail("'" + file.substr(0, 100) + "' is not among its files");
    if (!bytes || begin > found->second.bytes || *bytes > found->second.bytes - begin)
      fail("a tensor passes the end of '" + file + "'");
  }

 private:
  const std::filesystem::path& path_;
  std::string wrong_;
};

void decode_files(const Json& root, Decoder& decoder, Manifest& manifest) {
  const Json& files = decoder.object(root, "files");
  if (!decoder.good()) return;
  for (const auto& [name, value] : files.items()) {
    if (!is_safe_relative_name(name))
      return decoder.fail("the file name '" + name.substr(0, 100) + "' leaves its folder");
    FileDigest digest{decoder.size(decoder.member(value, "bytes"), "bytes"), decoder.text(value, "xxh3_128")};
    manifest.files.emplace(name, std::move(digest));
  }
}

void decode_tensors(const Json& root, ManifestScope scope, Decoder& decoder, Manifest& manifest) {
  const Json& tensors = decoder.object(root, "tensors");
  if (!decoder.good()) return;
  for (const auto& [name, value] : tensors.items()) {
    ManifestTensor tensor{decoder.text(value, "dtype"), decoder.sizes(value, "shape"), {}};
    const Json& boxes = decoder.member(value, "boxes");
    if (!boxes.is_array()) return decoder.fail("'boxes' is not a list");
    for (const Json& item : boxes) {
      ManifestBox box{decoder.sizes(item, "offset"), decoder.sizes(item, "size"), {}, 0};
      decoder.range(item, tensor.dtype, box.size, manifest, box.file, box.begin);
      tensor.boxes.push_back(std::move(box));
    }
    if (!decoder.good()) return;
    if (scope == ManifestScope::whole)
      if (std::string wrong = check_boxes(tensor.shape, tensor.boxes); !wrong.empty())
        return decoder.fail("tensor '" + name.substr(0, 100) + "': " + wrong);
    manifest.tensors.emplace(name, std::move(tensor));
  }
}

ManifestState decode_state(const Json& value, Decoder& decoder, const Manifest& manifest) {
  if (!value.is_object() || value.size() != 1) {
    decoder.fail("a state is not one of integer, real, text, hex, array");
    return std::int64_t{0};
  }
  const std::string kind = value.begin().key();
  const Json& held = value.begin().value();
  if (kind == "integer" && held.is_number_integer()) return held.get<std::int64_t>();
  if (kind == "text" && held.is_string()) return held.get<std::string>();
  if (double real = 0; kind == "real" && decode_real(held, real)) return real;
  if (std::string bytes; kind == "hex" && held.is_string() && from_hex(held.get<std::string>(), bytes)) return bytes;
  if (kind == "array") {
    ManifestArray array{decoder.text(held, "dtype"), decoder.sizes(held, "shape"), {}, 0};
    decoder.range(held, array.dtype, array.shape, manifest, array.file, array.begin);
    return array;
  }
  decoder.fail("a state is not one of integer, real, text, hex, array");
  return std::int64_t{0};
}

void decode_states(const Json& root, Decoder& decoder, Manifest& manifest) {
  const Json& states = decoder.object(root, "states");
  if (!decoder.good()) return;
  for (const auto& [owner, held] : states.items()) {
    if (!held.is_object()) return decoder.fail("the states of '" + owner.substr(0, 100) + "' are not a map");
    auto& target = manifest.states[owner];
    for (const auto& [name, value] : held.items()) target.emplace(name, decode_state(value, decoder, manifest));
  }
}

} // namespace

std::string check_boxes(const std::vector<std::int64_t>& shape, const std::vector<ManifestBox>& boxes) {
  const auto whole = byte_count(shape, 1);
  if (!whole) return "the shape is too large";
  std::int64_t covered = 0;
  for (const ManifestBox& box : boxes) {
    if (box.offset.size() != shape.size() || box.size.size() != shape.size()) return "a box has another number of axes";
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
      if (box.offset[axis] < 0 || box.size[axis] < 0 || box.size[axis] > shape[axis] ||
          box.offset[axis] > shape[axis] - box.size[axis])
        return "a box passes the end of the tensor";
    covered += *byte_count(box.size, 1);
    if (covered > *whole) return "its boxes overlap";
  }
  if (covered < *whole) return "its boxes do not cover it";
  // Equal volume and disjoint is the same as covering. Boxes sorted by their first axis meet only near neighbours.
  std::vector<const ManifestBox*> order;
  for (const ManifestBox& box : boxes)
    if (*byte_count(box.size, 1) > 0) order.push_back(&box);
  if (shape.empty()) return {}; // one element; the volumes have said it all
  std::sort(order.begin(), order.end(),
            [](const ManifestBox* a, const ManifestBox* b) { return a->offset < b->offset; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = i + 1; j < order.size() && order[j]->offset[0] < order[i]->offset[0] + order[i]->size[0];
         ++j) {
      bool meet = true;
      for (std::size_t axis = 0; axis < shape.size() && meet; ++axis)
        meet = order[i]->offset[axis] < order[j]->offset[axis] + order[j]->size[axis] &&
               order[j]->offset[axis] < order[i]->offset[axis] + order[i]->size[axis];
      if (meet) return "its boxes overlap";
    }
  }
  return {};
}

Status check_all_boxes(const Manifest& manifest) {
  for (const auto& [name, tensor] : manifest.tensors) {
    const std::string wrong = check_boxes(tensor.shape, tensor.boxes);
    if (wrong.empty()) continue;
    std::set<std::string> files;
    for (const ManifestBox& box : tensor.boxes) files.insert(box.file);
    std::string list;
    for (const std::string& file : files) list += (list.empty() ? " (" : ", ") + file;
    return internal_error("tensor '" + name + "' of the snapshot: " + wrong + list + (list.empty() ? "" : ")"));
  }
  return {};
}

Status merge_part(Manifest& manifest, Manifest part, std::size_t rank) {
  const std::string who = "rank " + std::to_string(rank);
  if (part.step != manifest.step)
    return internal_error(who + " saves step " + std::to_string(part.step) + ", rank 0 step " +
                          std::to_string(manifest.step));
  for (auto& [name, digest] : part.files)
    if (!manifest.files.emplace(name, std::move(digest)).second)
      return internal_error(who + " wrote '" + name + "', as another rank did");
  for (auto& [name, tensor] : part.tensors) {
    const auto [found, fresh] = manifest.tensors.try_emplace(name, std::move(tensor));
    if (fresh) continue;
    ManifestTensor& whole = found->second;
    if (whole.dtype != tensor.dtype || whole.shape != tensor.shape)
      return internal_error(who + " and another rank disagree on the type or shape of tensor '" + name + "'");
    std::move(tensor.boxes.begin(), tensor.boxes.end(), std::back_inserter(whole.boxes));
  }
  return {};
}

Result<std::string> encode_manifest(const Manifest& manifest) {
  Json meta = Json::parse(manifest.meta_json.empty() ? "{}" : manifest.meta_json, nullptr, /*allow_exceptions=*/false);
  if (!meta.is_object()) return internal_error("the checkpoint's meta is not a JSON object");
  Json files = Json::object(), tensors = Json::object(), states = Json::object();
  for (const auto& [name, digest] : manifest.files)
    files[name] = {{"bytes", digest.bytes}, {"xxh3_128", digest.xxh3_128}};
  for (const auto& [name, tensor] : manifest.tensors) {
    Json boxes = Json::array();
    for (const ManifestBox& box : tensor.boxes)
      boxes.push_back({{"offset", box.offset}, {"size", box.size}, {"file", box.file}, {"begin", box.begin}});
    tensors[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"boxes", std::move(boxes)}};
  }
  for (const auto& [owner, held] : manifest.states) {
    Json& target = states[owner] = Json::object();
    for (const auto& [name, state] : held) target[name] = encode_state(state);
  }
  std::string text = std::string(checksum_prefix) + std::string(checksum_digits, '0') + "\"";
  try {
    append_member(text, "format", format_name);
    append_member(text, "schema", manifest_schema);
    append_member(text, "step", manifest.step);
    append_map(text, "files", files);
    append_map(text, "tensors", tensors);
    append_map(text, "states", states);
    append_map(text, "meta", meta);
  } catch (const Json::exception&) {
    return internal_error("a name in the checkpoint is not UTF-8");
  }
  text += "\n}\n";
  text.replace(checksum_prefix.size(), checksum_digits, checksum_of(text));
  return text;
}

Result<Manifest> decode_manifest(std::string_view text, const std::filesystem::path& path, ManifestScope scope) {
  Decoder decoder(path);
  if (text.size() < checksum_prefix.size() + checksum_digits || !text.starts_with(checksum_prefix)) {
    decoder.fail("it does not start with its checksum");
    return decoder.error();
  }
  std::string checksum = checksum_of(text);
  if (checksum != text.substr(checksum_prefix.size(), checksum_digits))
    return storage_error("the manifest is damaged: its checksum does not fit", "use another checkpoint", path.string());
  const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object() || decoder.text(root, "format") != format_name) {
    decoder.fail("it is not of the format " + std::string(format_name));
    return decoder.error();
  }
  const std::int64_t schema = decoder.size(decoder.member(root, "schema"), "schema");
  if (decoder.good() && schema != manifest_schema)
    return unsupported(
        "the checkpoint has schema " + std::to_string(schema) + ", this build reads " + std::to_string(manifest_schema),
        "use the version of conclave that wrote it", path.string());
  Manifest manifest;
  manifest.checksum = std::move(checksum);
  manifest.step = decoder.size(decoder.member(root, "step"), "step");
  decode_files(root, decoder, manifest);
  decode_tensors(root, scope, decoder, manifest);
  decode_states(root, decoder, manifest);
  manifest.meta_json = decoder.object(root, "meta").dump();
  if (!decoder.good()) return decoder.error();
  return manifest;
}

} // namespace conclave
