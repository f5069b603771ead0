// Which reader takes which path, and as what it opens it.
#include "model/readers.h"

#include <set>

#include "model/tiny_checkpoint.h"
#include "model/tokenizer/vocabulary.h"

namespace phiquant::test {
namespace {

const fs::path kData = PHIQUANT_TEST_DATA;

std::string reader_name(const fs::path& path) { return std::string(reader_of(path).name); }

TEST(Readers, NamesDifferAndOnnxTakesWhatIsLeft) {
  std::set<std::string_view> names;
  for (const Reader& reader : readers())
    EXPECT_TRUE(names.insert(reader.name).second) << reader.name;
  EXPECT_EQ(readers().back().kind, ModelKind::onnx);
  EXPECT_EQ(&reader_of("no/such/file"), &readers().back());
}

TEST(Readers, ByWhatIsInTheFolder) {
  const TemporaryFolder folder;
  TinyCheckpoint tiny;
  tiny.write(folder.path() / "plain");
  EXPECT_EQ(reader_name(folder.path() / "plain"), "checkpoint");
  tiny.config["quantization"] = {{"bits", 4}, {"group_size", 64}};
  tiny.write(folder.path() / "mlx");
  EXPECT_EQ(reader_name(folder.path() / "mlx"), "mlx");
  // A checkpoint that somebody put a genai_config.json into is a checkpoint still.
  write_file(folder.path() / "plain/genai_config.json", "{}");
  EXPECT_EQ(reader_name(folder.path() / "plain"), "checkpoint");
  write_file(folder.path() / "genai/genai_config.json", "{}");
  EXPECT_EQ(reader_name(folder.path() / "genai"), "genai");
  write_file(folder.path() / "damaged.gguf", "");
  write_file(folder.path() / "named-otherwise", "GGUF");
  EXPECT_EQ(reader_name(folder.path() / "damaged.gguf"), "gguf");
  EXPECT_EQ(reader_name(folder.path() / "named-otherwise"), "gguf");
  write_file(folder.path() / "m.onnx", "");
  EXPECT_EQ(reader_name(folder.path() / "m.onnx"), "onnx");
}

// The kind of a row is the alternative that it opens.
TEST(Readers, KindsAreTheAlternativesOfAModel) {
  const TemporaryFolder folder;
  // Version 3, no tensors, no metadata.
  write_file(folder.path() / "m.gguf", std::string("GGUF\3\0\0\0", 8) + std::string(16, '\0'));
  const fs::path paths[] = {kData / "checkpoints/phi2-tiny", folder.path() / "m.gguf",
                            kData / "models/ragged.onnx"};
  for (const fs::path& path : paths) {
    const Reader& reader = reader_of(path);
    SourceOptions source;
    source.path = path;
    const auto model = reader.open(source);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(model->index(), static_cast<size_t>(reader.kind)) << path;
    EXPECT_FALSE(files_of(*model).empty());
  }
}

// What planners need beside the weights comes with the checkpoint, and nothing of it is read before
// it is asked for.
TEST(Readers, ACheckpointBringsItsCardAndItsVocabulary) {
  const TemporaryFolder folder;
  TinyCheckpoint tiny;
  tiny.tokenizer["model"]["merges"] = 7;
  tiny.write(folder.path());
  write_file(folder.path() / "README.md", "---\nlicense: mit\n---\n");
  const auto broken = open_checkpoint(folder.path());
  ASSERT_TRUE(broken) << broken.error().message;
  EXPECT_EQ(broken->card.texts("license"), std::vector<std::string>{"mit"});
  EXPECT_FALSE(broken->vocabulary());
  const auto whole = open_checkpoint(kData / "checkpoints/phi2-tiny");
  ASSERT_TRUE(whole) << whole.error().message;
  const auto vocabulary = whole->vocabulary();
  ASSERT_TRUE(vocabulary) << vocabulary.error().message;
  EXPECT_EQ(vocabulary->pieces.size(), whole->decoder.vocab);
  EXPECT_FALSE(Checkpoint().vocabulary());
}

}  // namespace
}  // namespace phiquant::test
