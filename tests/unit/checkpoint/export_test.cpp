// The Hugging Face form: names, types, shards, and a folder that appears whole or not at all.

#include "checkpoint/hugging_face_export.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.hpp"
#include "fixture.hpp"

namespace conclave::checkpoint_test {
namespace {

class Export : public CheckpointTest {
 protected:
  Export() {
    auto store = open();
    if (!store->save(snapshot_of(1)).ok() || !store->wait().ok()) throw std::runtime_error("no checkpoint");
    reader_ = std::move(open_checkpoint(folder(1))).value();
    request_.directory = root / "hf";
    request_.form.config_json = R"({"model_type":"mixtral"})";
    request_.form.rename = [](const std::string& name) {
      return name == "counter" ? std::string() : name == "model.embed.weight" ? "model.embed_tokens.weight" : name;
    };
  }
  [[nodiscard]] SafetensorsLayout layout(const std::string& name) const {
    const FileHandle file(::open((root / "hf" / name).c_str(), O_RDONLY | O_CLOEXEC));
    auto read = read_safetensors(file, name);
    if (!read.ok()) throw std::runtime_error(read.error().render());
    return *read;
  }
  std::unique_ptr<CheckpointReader> reader_;
  HuggingFaceExport request_;
};

TEST_F(Export, WritesRenamedWeightsAndConfig) {
  request_.dtype = at::kBFloat16;
  request_.write_tokenizer = [](const fs::path& folder) {
    std::ofstream(folder / "tokenizer.model") << "t";
    return Status{};
  };
  const auto done = export_hugging_face(*reader_, request_);
  ASSERT_TRUE(done.ok()) << done.error().render();
  EXPECT_THAT(done->files, testing::ElementsAre("model.safetensors"));
  EXPECT_EQ(done->tensors, 2); // no optimizer state, no counter
  const SafetensorsLayout written = layout("model.safetensors");
  EXPECT_EQ(written.metadata.at("format"), "pt");
  ASSERT_EQ(written.entries.size(), 2u);
  EXPECT_EQ(written.entries[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(written.entries[0].dtype, "BF16");
  EXPECT_EQ(written.entries[0].shape, (std::vector<std::int64_t>{64, 32}));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(root / "hf")) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre("model.safetensors", "config.json", "tokenizer.model"));
}

TEST_F(Export, TheConfigSaysWhatTypeTheWeightsAreIn) {
  request_.form.config_json = R"({"model_type": "mixtral", "torch_dtype": "whatever"})";
  for (const auto& [type, name] :
       {std::pair{at::kFloat, "float32"}, {at::kBFloat16, "bfloat16"}, {at::kHalf, "float16"}}) {
    request_.dtype = type;
    request_.directory = root / "hf" / name;
    ASSERT_TRUE(export_hugging_face(*reader_, request_).ok());
    const auto config = nlohmann::json::parse(std::ifstream(request_.directory / "config.json"));
    EXPECT_EQ(config, (nlohmann::json{{"model_type", "mixtral"}, {"torch_dtype", name}}));
  }
  request_.form.config_json = "[]";
  request_.directory = root / "hf" / "bad";
  const auto refused = export_hugging_face(*reader_, request_);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::internal);
}

TEST_F(Export, ShardsWithAnIndex) {
  request_.max_file_bytes = 8000;
  const auto done = export_hugging_face(*reader_, request_);
  ASSERT_TRUE(done.ok()) << done.error().render();
  EXPECT_THAT(done->files,
              testing::ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"));
  const auto index = nlohmann::json::parse(std::ifstream(root / "hf" / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 64 * 32 * 4 + 32 * 4);
  EXPECT_EQ(index["weight_map"]["model.norm.weight"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(layout("model-00002-of-00002.safetensors").entries[0].dtype, "F32");
}

TEST_F(Export, LeavesNothingWhenItFails) {
  request_.write_tokenizer = [](const fs::path&) -> Status { return unsupported("no such tokenizer"); };
  const auto failed = export_hugging_face(*reader_, request_);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Code::unsupported);
  EXPECT_FALSE(fs::exists(root / "hf"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root), {}), 1); // the checkpoints alone
  request_.write_tokenizer = [](const fs::path&) -> Status { throw std::runtime_error("boom"); };
  EXPECT_FALSE(export_hugging_face(*reader_, request_).ok());
  request_.write_tokenizer = {};
  request_.form.rename = [](const std::string&) { return "same"; };
  EXPECT_FALSE(export_hugging_face(*reader_, request_).ok());
}

TEST_F(Export, RefusesAFolderWithContent) {
  fs::create_directory(root / "hf");
  ASSERT_TRUE(export_hugging_face(*reader_, request_).ok()); // an empty one serves
  const auto again = export_hugging_face(*reader_, request_);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::invalid_argument);
}

} // namespace
} // namespace conclave::checkpoint_test
