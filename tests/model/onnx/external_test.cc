// External data: ranges, hostile locations, links, and that weights are not read.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/checkpoint/model_folder.h"

namespace phiquant {
namespace {

using namespace test;
using T = onnx::TensorProto;

class OnnxExternal : public ModelFolder {};

TEST_F(OnnxExternal, ExternalTensorsShareFilesAndRanges) {
  onnx::ModelProto m = empty_model();
  auto& g = *m.mutable_graph();
  set_external(*g.add_initializer(), "a", T::FLOAT, {256},
               {{"location", "d/one.bin"}, {"offset", "8"}, {"length", "1024"}});
  set_external(*g.add_initializer(), "b", T::UINT8, {1024},
               {{"location", "d/../d/one.bin"}, {"offset", "8"}});
  set_external(*g.add_initializer(), "c", T::INT8, {2000},
               {{"location", "two.bin"}, {"checksum", "abc"}, {"vendor", "x"}});
  set_external(*g.add_initializer(), "tiny", T::INT64, {2},
               {{"location", "two.bin"}, {"offset", "1984"}});
  set_external(*g.add_initializer(), "void", T::INT64, {0},
               {{"location", "two.bin"}, {"offset", "2000"}});
  write("m.onnx", m);
  const std::string one = pattern(1032, 1), two = pattern(2000, 2);
  write("d/one.bin", one);
  write("two.bin", two);
  const auto loaded = load_onnx(dir / "m.onnx");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->files,
            (std::vector<fs::path>{dir / "m.onnx", dir / "d/one.bin", dir / "two.bin"}));
  EXPECT_EQ(loaded->input_bytes, fs::file_size(dir / "m.onnx") + 3032);
  ASSERT_EQ(loaded->payloads.size(), 3u);
  EXPECT_EQ(read_all(*loaded->payloads[0].source.bytes), one.substr(8));
  EXPECT_EQ(read_all(*loaded->payloads[1].source.bytes), one.substr(8));
  EXPECT_EQ(read_all(*loaded->payloads[2].source.bytes), two);
  EXPECT_EQ(loaded->payloads[0].file, 1u);
  EXPECT_EQ(loaded->payloads[1].file, 1u);
  EXPECT_EQ(loaded->payloads[2].file, 2u);
  const auto& graph = loaded->proto.graph();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(payload_index(graph.initializer(i)), static_cast<uint32_t>(i));
  // Small ones are read into the model.
  EXPECT_FALSE(payload_index(graph.initializer(3)));
  EXPECT_EQ(graph.initializer(3).raw_data(), two.substr(1984));
  EXPECT_EQ(graph.initializer(3).data_location(), T::DEFAULT);
  EXPECT_EQ(graph.initializer(3).external_data_size(), 0);
  EXPECT_EQ(graph.initializer(4).raw_data(), "");
}

TEST_F(OnnxExternal, ExternalRangesMustFit) {
  write("data", std::string(1500, 'x'));
  const std::string at = "DIR/m.onnx: tensor 'w': ";
  struct {
    Entries entries;
    Errc code;
    std::string message;
  } const cases[] = {
      {{{"location", "data"}, {"length", "1020"}},
       Errc::corrupt,
       "external length is 1020, float32 of shape [256] wants 1024"},
      {{{"location", "data"}, {"length", "1028"}},
       Errc::corrupt,
       "external length is 1028, float32 of shape [256] wants 1024"},
      {{{"location", "data"}, {"offset", "477"}},
       Errc::corrupt,
       "data is bytes 477 to 1501 of 'data', the file has 1500 (incomplete download?)"},
      {{{"location", "data"}, {"offset", "9223372036854775807"}},
       Errc::corrupt,
       "data is bytes 9223372036854775807 to 9223372036854776831 of 'data', the file has 1500 "
       "(incomplete download?)"},
      {{{"location", "none"}},
       Errc::io,
       "external data file 'DIR/none' cannot be opened: No such file or directory (incomplete "
       "download?)"},
      {{{"location", "d\\none"}},
       Errc::io,
       "external data file 'DIR/d\\none' cannot be opened: No such file or directory (the location "
       "has backslashes: written on Windows?)"},
      {{{"location", ""}}, Errc::corrupt, "external location is empty"},
      {{{"location", "/etc/passwd"}},
       Errc::corrupt,
       "external location '/etc/passwd' is absolute, wanted a path relative to the model's folder"},
      {{{"location", "../data"}},
       Errc::corrupt,
       "external location '../data' is not inside the model's folder"},
      {{{"location", "a/../../data"}},
       Errc::corrupt,
       "external location 'a/../../data' is not inside the model's folder"},
      {{{"location", ".."}},
       Errc::corrupt,
       "external location '..' is not inside the model's folder"},
      {{{"location", "."}},
       Errc::corrupt,
       "external location '.' is not inside the model's folder"},
      {{{"location", "data/"}},
       Errc::corrupt,
       "external location 'data/' is not inside the model's folder"},
      {{{"location", std::string("data\0x", 6)}},
       Errc::corrupt,
       "external location 'data\\x00x' has control characters"},
  };
  for (const auto& c : cases) {
    write("m.onnx", external_model(c.entries));
    expect_error("m.onnx", c.code, at + c.message);
  }
  fs::create_directory(dir / "folder");
  write("m.onnx", external_model({{"location", "folder"}}));
  EXPECT_EQ(error_of("m.onnx").code, Errc::io);
  write("m.onnx", external_model({{"location", "data"}, {"offset", "476"}}));
  EXPECT_EQ(error_of("m.onnx").message, "accepted");
}

TEST_F(OnnxExternal, LinksMustStayInTheFolder) {
  const std::string data = pattern(1024, 5);
  write("outside", data);
  write("m/real.bin", data);
  write("m/model.onnx", external_model({{"location", "w.bin"}}));
  fs::create_symlink("real.bin", dir / "m/w.bin");
  EXPECT_EQ(error_of("m").message, "accepted");
  for (const char* target : {"../outside", "../m/../outside"}) {
    fs::remove(dir / "m/w.bin");
    fs::create_symlink(target, dir / "m/w.bin");
    expect_error("m", Errc::unsupported,
                 "DIR/m/model.onnx: tensor 'w': external data file 'DIR/m/w.bin' is a link to "
                 "'DIR/outside', outside "
                 "the model's folder (--follow-symlinks accepts it)");
    EXPECT_EQ(error_of("m", true).message, "accepted");
  }
  // A folder of the path may be the link.
  fs::create_directory(dir / "elsewhere");
  write("elsewhere/w.bin", data);
  fs::create_directory_symlink("../elsewhere", dir / "m/sub");
  write("m/model.onnx", external_model({{"location", "sub/w.bin"}}));
  EXPECT_EQ(error_of("m").code, Errc::unsupported);
  // A folder whose name merely begins like the model's.
  write("m2/w.bin", data);
  fs::remove(dir / "m/w.bin");
  fs::create_symlink("../m2/w.bin", dir / "m/w.bin");
  write("m/model.onnx", external_model({{"location", "w.bin"}}));
  EXPECT_EQ(error_of("m").code, Errc::unsupported);
}

TEST_F(OnnxExternal, HuggingFaceCacheLinksWork) {
  const fs::path repo = "hub/models--org--name";
  const std::string data = pattern(1024, 6);
  write(repo / "blobs/aaa", serialize(external_model({{"location", "model.onnx.data"}})));
  write(repo / "blobs/bbb", data);
  write("hub/models--org--other/blobs/ccc", data);
  const fs::path snapshot = repo / "snapshots/0123abc/onnx";
  fs::create_directories(dir / snapshot);
  fs::create_symlink("../../../blobs/aaa", dir / snapshot / "model.onnx");
  fs::create_symlink("../../../blobs/bbb", dir / snapshot / "model.onnx.data");
  for (const fs::path& path : {snapshot, snapshot / "model.onnx"}) {
    const auto m = load_onnx(dir / path);
    ASSERT_TRUE(m.has_value()) << m.error().message;
    EXPECT_EQ(m->files.at(1), dir / snapshot / "model.onnx.data");
    EXPECT_EQ(read_all(*m->payloads.at(0).source.bytes), data);
  }
  // Blobs of another repository, and files of this one that are no blobs, are outside.
  for (const char* target : {"../../../../models--org--other/blobs/ccc", "../../../refs/main"}) {
    write(repo / "refs/main", data);
    fs::remove(dir / snapshot / "model.onnx.data");
    fs::create_symlink(target, dir / snapshot / "model.onnx.data");
    EXPECT_EQ(error_of(snapshot).code, Errc::unsupported) << target;
  }
}

TEST_F(OnnxExternal, MissingDataBesideALinkedModelIsExplained) {
  write("a/model.onnx", external_model({{"location", "w.bin"}}));
  write("a/w.bin", pattern(1024, 1));
  fs::create_directory(dir / "b");
  fs::create_symlink("../a/model.onnx", dir / "b/model.onnx");
  expect_error("b/model.onnx", Errc::io,
               "DIR/b/model.onnx: tensor 'w': external data file 'DIR/b/w.bin' cannot be opened: "
               "No such file or "
               "directory (the model is a symbolic link: name the file it points to)");
  expect_error("b", Errc::unsupported,
               "DIR/b/model.onnx: a link that leaves the folder (--follow-symlinks accepts it)");
}

// Peak resident memory of `body` in a process of its own, in kB, mapped pages included; -1 where it
// fails.
template <class Body>
long peak_rss_kb(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  struct rusage usage {};
  ::wait4(child, &status, 0, &usage);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? usage.ru_maxrss : -1;
}

TEST_F(OnnxExternal, OnlyStructureIsReadOfLargeFiles) {
  // 3 GiB of external data and 1.5 GiB inline, both as holes in their files.
  constexpr int64_t kInline = int64_t{3} << 29;
  onnx::ModelProto m = empty_model();
  auto& g = *m.mutable_graph();
  set_external(*g.add_initializer(), "ext", T::FLOAT, {3, 1 << 28}, {{"location", "data"}});
  T* t = g.add_initializer();
  set_header(*t, "inl", T::UINT8, {kInline});
  set_payload_index(*t, 1);
  set_payload_index(*g.mutable_initializer(0), 0);
  const auto spliced =
      splice_payloads(m, {{uint64_t{3} << 30, false, "data", 0}, {uint64_t{kInline}, true, "", 0}});
  ASSERT_TRUE(spliced.has_value());
  {
    std::ofstream out(dir / "m.onnx", std::ios::binary);
    for (const Literal& l : spliced->literals) {
      out.seekp(static_cast<std::streamoff>(l.offset));
      out << l.bytes;
    }
  }
  write("data", "");
  fs::resize_file(dir / "data", uint64_t{3} << 30);
  fs::resize_file(dir / "m.onnx", spliced->size_bytes);
  const long before = peak_rss_kb([] { return true; });
  const long loaded = peak_rss_kb([&] {
    const auto model = load_onnx(dir / "m.onnx");
    return model.has_value() && model->payloads.size() == 2 &&
           model->input_bytes == fs::file_size(dir / "m.onnx") + (uint64_t{3} << 30);
  });
  ASSERT_GE(before, 0);
  ASSERT_GE(loaded, 0);
  // Tables of operator sets and a few pages around each tensor's header; the weights would be
  // millions.
  EXPECT_LT(loaded - before, 64 * 1024);
}

}  // namespace
}  // namespace phiquant
