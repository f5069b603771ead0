// Damaged, incomplete and hostile checkpoint folders: each gives one error with its exact words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;

// A folder whose model.safetensors has this header and this much data.
std::string with_header(const std::string& header, size_t n_data) {
  const TemporaryFolder folder;
  TinyCheckpoint().write_sidecars(folder.path());
  write_file(folder.path() / "model.safetensors",
             safetensors_bytes(header, std::string(n_data, '\0')));
  return outcome(folder.path());
}
std::string with_file(const std::string& name, const std::string& bytes) {
  const TemporaryFolder folder;
  TinyCheckpoint().write_sidecars(folder.path());
  write_file(folder.path() / name, bytes);
  return outcome(folder.path());
}
std::string entry(const std::string& name, const std::string& rest) {
  return fmt::format("\"{}\":{{{}}}", name, rest);
}

std::string with_tensors(const std::vector<std::string>& entries, size_t n_data) {
  return with_header(fmt::format("{{{}}}", fmt::join(entries, ",")), n_data);
}

TEST(CheckpointBad, TheTinyCheckpointItselfIsFine) {
  const TemporaryFolder folder;
  TinyCheckpoint().write(folder.path());
  const auto c = open_checkpoint(folder.path());
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->warnings, ElementsAre());
  EXPECT_THAT(c->tokens.eos, ElementsAre(3, 2));
  EXPECT_TRUE(looks_like_checkpoint(folder.path()));
}

TEST(CheckpointBad, SafetensorsFile) {
  const std::string in = "F/model.safetensors: ";
  EXPECT_EQ(with_file("model.safetensors", ""),
            "corrupt: " + in + "the file is empty (incomplete download?)");
  EXPECT_EQ(with_file("model.safetensors", "abc"),
            "corrupt: " + in + "file has 3 bytes, too few for safetensors (incomplete download?)");
  EXPECT_EQ(with_file("model.safetensors",
                      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
            "corrupt: " + in + "this is a Git LFS pointer, not the file (run `git lfs pull`)");
  EXPECT_EQ(with_file("model.safetensors", "PK\x03\x04 and so on"),
            "corrupt: " + in +
                "this is a zip archive, perhaps pickled PyTorch weights (wanted safetensors)");
  EXPECT_EQ(
      with_file("model.safetensors", "<!DOCTYPE html><html>"),
      "corrupt: " + in + "this is an HTML page (a download that ended at a login or error page?)");
  EXPECT_EQ(with_file("model.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{", 9)),
            "corrupt: " + in +
                "header of 18446744073709551615 bytes, the format allows 100000000 (not a "
                "safetensors file?)");
  EXPECT_EQ(with_file("model.safetensors", std::string("\x40\0\0\0\0\0\0\0{", 9)),
            "corrupt: " + in + "header of 64 bytes, file has 9 (incomplete download?)");
}

TEST(CheckpointBad, SafetensorsHeader) {
  const std::string in = "corrupt: F/model.safetensors: ", t = in + "tensor 'a': ";
  EXPECT_EQ(with_header("[]", 0), in + "header is not a JSON object");
  EXPECT_EQ(with_header("3", 0), in + "header is not a JSON object");
  EXPECT_EQ(with_header("{\"a\":", 0), in + "not valid JSON at byte 6: line 1, column 6: syntax "
                                            "error while parsing value - unexpected end of input; "
                                            "expected '[', '{', or a literal");
  EXPECT_EQ(with_header("{\"a\":[]}", 0),
            t + "header entry is a list, wanted an object with dtype, shape and data_offsets");
  EXPECT_EQ(with_header("{\"a\":1}", 0), t + "header entry is not an object");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"F16","shape":[1])")}, 2),
            t + "header entry has no 'data_offsets'");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"F16","shape":[1],"data_offsets":[0])")}, 2),
            t + "data_offsets has 1 numbers, wanted 2");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"F16","shape":[-1],"data_offsets":[0,2])")}, 2),
            t + "shape holds -1, wanted whole numbers from 0");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"F16","shape":[1.0],"data_offsets":[0,2])")}, 2),
            t + "shape holds 1.0, wanted whole numbers from 0");
  EXPECT_EQ(
      with_tensors(
          {entry("a", R"("dtype":"F16","shape":[1],"data_offsets":[0,18446744073709551616])")}, 2),
      t + "data_offsets holds 1.8446744073709552e+19, wanted whole numbers from 0");
  EXPECT_EQ(with_tensors(
                {entry("a", R"("dtype":"F16","dtype":"F16","shape":[1],"data_offsets":[0,2])")}, 2),
            t + "field 'dtype' occurs twice");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"F16","color":3)")}, 2),
            t + "unknown field 'color'");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":["F16"])")}, 2),
            t + "header entry has a value of a wrong kind");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":3)")}, 2),
            t + "header entry has a value of a wrong kind");
  EXPECT_EQ(with_tensors({entry("a", R"("shape":[[1]])")}, 2),
            "unsupported: F/model.safetensors: nested deeper than 3 levels");
  EXPECT_EQ(with_tensors({entry("a", R"("dtype":"Q3","shape":[1],"data_offsets":[0,2])")}, 2),
            "unsupported: F/model.safetensors: tensor 'a': unknown dtype 'Q3' (known: F32, F16, "
            "BF16, F64, BOOL, I8, U8, I16, U16, I32, U32, I64, U64, F8_E4M3, "
            "F8_E5M2, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, F4, C64)");
  EXPECT_EQ(with_header(R"({"__metadata__":{"format":3}})", 0),
            in + "header: '__metadata__' holds more than texts");
  EXPECT_EQ(with_header(R"({"__metadata__":{},"__metadata__":{}})", 0),
            in + "header: '__metadata__' occurs twice");
}

TEST(CheckpointBad, SafetensorsRanges) {
  const std::string in = "corrupt: F/model.safetensors: ";
  const auto f16 = [](const std::string& name, int n, uint64_t begin, uint64_t end) {
    return entry(
        name, fmt::format(R"("dtype":"F16","shape":[{}],"data_offsets":[{},{}])", n, begin, end));
  };
  EXPECT_EQ(with_tensors({f16("a", 1, 0, 2), f16("a", 1, 2, 4)}, 4),
            in + "tensor 'a': occurs twice in the header");
  EXPECT_EQ(with_tensors({f16("a", 1, 4, 2)}, 4),
            in + "tensor 'a': data_offsets [4, 2] run backwards");
  EXPECT_EQ(with_tensors({f16("a", 2, 0, 2)}, 4),
            in + "tensor 'a': data_offsets hold 2 bytes, float16 of shape [2] wants 4");
  EXPECT_EQ(
      with_tensors(
          {entry(
              "a",
              R"("dtype":"F16","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,2])")},
          2),
      in + "tensor 'a': data_offsets hold 2 bytes, float16 of shape [4294967296, 4294967296, "
           "4294967296] wants more than 2^63");
  EXPECT_EQ(with_tensors({f16("a", 2, 0, 4), f16("b", 2, 2, 6)}, 6),
            in + "tensor 'b': data begins at byte 2 of the data, inside the tensor before it, "
                 "which ends at 4");
  EXPECT_EQ(with_tensors({f16("a", 1, 0, 2), f16("b", 1, 4, 6)}, 6),
            in + "tensor 'b': data begins at byte 4 of the data, wanted 2: no tensor owns the "
                 "bytes between");
  EXPECT_EQ(with_tensors({f16("a", 1, 2, 4)}, 4),
            in + "tensor 'a': data begins at byte 2 of the data, wanted 0: no tensor owns the "
                 "bytes between");
  EXPECT_EQ(
      with_tensors({f16("a", 4, 0, 8)}, 6),
      in + "tensor 'a': data ends at byte 70 of the file, which has 68 (incomplete download?)");
  EXPECT_EQ(with_tensors({f16("a", 1, 0, 2)}, 6),
            in + "4 bytes behind the last tensor belong to none");
}

TEST(CheckpointBad, NoWeights) {
  const TemporaryFolder folder;
  EXPECT_EQ(outcome(folder.path() / "nowhere"), "io: F: No such file or directory");
  EXPECT_EQ(outcome(folder.path()), "io: F: no config.json (is this the checkpoint's folder?)");
  EXPECT_FALSE(looks_like_checkpoint(folder.path()));
  TinyCheckpoint().write_sidecars(folder.path());
  EXPECT_EQ(outcome(folder.path()),
            "io: F: no weights: wanted model.safetensors or model.safetensors.index.json "
            "(incomplete download?)");
  EXPECT_FALSE(looks_like_checkpoint(folder.path()));
  write_file(folder.path() / "openvino_model.bin", "x");
  EXPECT_FALSE(looks_like_checkpoint(folder.path()));
  write_file(folder.path() / "pytorch_model-00001-of-00002.bin", "x");
  EXPECT_TRUE(looks_like_checkpoint(folder.path()));
  EXPECT_EQ(outcome(folder.path()),
            "unsupported: F/pytorch_model-00001-of-00002.bin: pickled weights are not read: "
            "loading them executes code that the file carries. Download the "
            "safetensors files of the checkpoint, or convert it with transformers: "
            "from_pretrained(...).save_pretrained(..., safe_serialization=True)");
  write_file(folder.path() / "adapter_model.safetensors", "x");
  EXPECT_EQ(outcome(folder.path()),
            "unsupported: F/adapter_model.safetensors: this is an adapter, not a model (merge it "
            "into its base model first)");
  write_file(folder.path() / "model-00002-of-00002.safetensors", "x");
  EXPECT_EQ(outcome(folder.path()),
            "io: F: 2 safetensors files ('adapter_model.safetensors', ...) and no "
            "model.safetensors.index.json (incomplete download?)");
}

// Two shards, "a.safetensors" with the blocks and "b.safetensors" with the rest.
class CheckpointShards : public testing::Test {
 protected:
  CheckpointShards() {
    for (const auto& [name, t] : checkpoint.tensors) {
      const std::string shard =
          name.find(".layers.") == std::string::npos ? "b.safetensors" : "a.safetensors";
      (shard[0] == 'a' ? a : b)[name] = t;
      map[name] = shard;
    }
  }
  std::string run() {
    const TemporaryFolder folder;
    checkpoint.write_sidecars(folder.path());
    if (!a.empty()) write_file(folder.path() / "a.safetensors", safetensors_file(a));
    write_file(folder.path() / "b.safetensors", safetensors_file(b));
    write_file(folder.path() / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
    return outcome(folder.path());
  }
  std::string with_place(const std::string& place) {
    map["model.norm.weight"] = place;
    return run();
  }

  TinyCheckpoint checkpoint;
  TestTensors a, b;
  json map;
};

TEST_F(CheckpointShards, AreRead) { EXPECT_EQ(run(), "accepted"); }

TEST_F(CheckpointShards, NamesThatLeaveTheFolder) {
  const std::string in = "corrupt: F/model.safetensors.index.json: ";
  EXPECT_EQ(with_place("../b.safetensors"),
            in + "shard '../b.safetensors' is not inside the checkpoint's folder");
  EXPECT_EQ(with_place("x/../../b.safetensors"),
            in + "shard 'x/../../b.safetensors' is not inside the checkpoint's folder");
  EXPECT_EQ(with_place("/etc/b.safetensors"),
            in + "shard '/etc/b.safetensors' is an absolute path, wanted one relative to the "
                 "checkpoint's folder");
  EXPECT_EQ(with_place("b.safetensors\n"),
            in + "shard 'b.safetensors\\x0a' has control characters in its name");
  EXPECT_EQ(with_place("config.json"), in + "shard 'config.json' is not a .safetensors file");
  EXPECT_EQ(with_place(""), in + "weight_map holds an empty file name");
  EXPECT_EQ(with_place("./x/../b.safetensors"), "accepted");
}

TEST_F(CheckpointShards, IndexThatIsNone) {
  const std::string in = "corrupt: F/model.safetensors.index.json: ";
  const auto saved = map;
  map = json::array();
  EXPECT_EQ(run(), in + "weight_map is missing or not an object");
  map = saved;
  map["model.norm.weight"] = 3;
  EXPECT_EQ(run(), in + "weight_map: tensor 'model.norm.weight': wanted a file name");
}

TEST_F(CheckpointShards, IndexThatLies) {
  const std::string in = "corrupt: F/model.safetensors.index.json: weight_map: ";
  EXPECT_EQ(
      with_place("a.safetensors"),
      in + "tensor 'model.norm.weight' is said to be in 'a.safetensors', it is in 'b.safetensors'");
  map["model.norm.weight"] = "b.safetensors";
  map["zzz"] = "b.safetensors";
  EXPECT_EQ(run(), in + "tensor 'zzz' is said to be in 'b.safetensors', which does not have it");
  map.erase("zzz");
  map.erase("model.norm.weight");
  EXPECT_EQ(run(),
            "corrupt: F/b.safetensors: tensor 'model.norm.weight': model.safetensors.index.json "
            "does not list it");
}

TEST_F(CheckpointShards, TensorInTwoShards) {
  a["model.norm.weight"] = b["model.norm.weight"];
  EXPECT_EQ(
      run(),
      "corrupt: F/b.safetensors: tensor 'model.norm.weight': is in shard 'a.safetensors' too");
}

TEST_F(CheckpointShards, MissingShard) {
  a.clear();
  EXPECT_EQ(run(),
            "io: F/model.safetensors.index.json: shard 'a.safetensors' is missing (incomplete "
            "download?)");
  map["model.norm.weight"] = "c.safetensors";
  EXPECT_EQ(run(),
            "io: F/model.safetensors.index.json: shard 'a.safetensors' is missing and 1 more of 3 "
            "(incomplete download?)");
}

TEST(CheckpointLinks, HuggingFaceCacheWorksAndOthersAreRefused) {
  const TemporaryFolder cache;
  const fs::path blobs = cache.path() / "models--x" / "blobs",
                 snapshot = cache.path() / "models--x" / "snapshots" / "0123";
  TinyCheckpoint().write(blobs);
  fs::create_directories(snapshot);
  for (const auto& file : fs::directory_iterator(blobs))
    fs::create_symlink(fs::path("../../blobs") / file.path().filename(),
                       snapshot / file.path().filename());
  EXPECT_EQ(outcome(snapshot), "accepted");

  const TemporaryFolder other;
  const std::string target = (blobs / "config.json").string();
  for (const auto& file : fs::directory_iterator(blobs))
    fs::create_symlink(file.path(), other.path() / file.path().filename());
  EXPECT_EQ(outcome(other.path()),
            fmt::format("unsupported: F/config.json: this is a link to '{}', outside the "
                        "checkpoint's folder (--follow-symlinks accepts it)",
                        fs::canonical(target).string()));
  CheckpointOptions follow;
  follow.follow_symlinks = true;
  EXPECT_EQ(outcome(other.path(), follow), "accepted");
  fs::remove(blobs / "model.safetensors");
  EXPECT_EQ(outcome(snapshot),
            "io: F/model.safetensors: No such file or directory (the link's target is missing: "
            "incomplete download?)");
}

TEST(CheckpointBad, FolderWithBothSingleFileAndIndex) {
  const TemporaryFolder folder;
  TinyCheckpoint().write(folder.path());
  write_file(folder.path() / "model.safetensors.index.json", "not looked at");
  const auto c = open_checkpoint(folder.path());
  ASSERT_TRUE(c);
  EXPECT_THAT(
      c->warnings,
      ElementsAre(
          "model.safetensors is used, model.safetensors.index.json ignored: the folder has both"));
}

}  // namespace
}  // namespace phiquant
