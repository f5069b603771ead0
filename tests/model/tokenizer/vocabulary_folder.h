// A folder of tokenizer files, and what read_vocabulary says of it.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/tiny_checkpoint.h"
#include "model/tokenizer/vocabulary.h"
#include "wire/protobuf_wire.h"

namespace phiquant::test {

// A sentencepiece model, field by field.
struct SentencePieces {
  std::string bytes;

  static std::string field(uint32_t number, const std::string& content) {
    std::string out;
    append_varint(out, wire_tag(number, Wire::length));
    append_varint(out, content.size());
    return out + content;
  }
  static std::string number(uint32_t field_number, uint64_t value) {
    std::string out;
    append_varint(out, wire_tag(field_number, Wire::varint));
    append_varint(out, value);
    return out;
  }
  static std::string score(float value) {
    std::string out(4, '\0');
    std::memcpy(out.data(), &value, 4);
    return std::string(1, static_cast<char>(wire_tag(2, Wire::fixed32))) + out;
  }
  SentencePieces& add(const std::string& text, float value, uint64_t type = 1) {
    std::string piece = field(1, text) + score(value);
    if (type != 1) piece += number(3, type);
    bytes += field(1, piece);
    return *this;
  }
  SentencePieces& kind(uint64_t model_type) {
    bytes += field(2, number(3, model_type));
    return *this;
  }
};

// <unk>, <s>, </s>, one byte, two pieces.
inline SentencePieces small_pieces() {
  SentencePieces p;
  p.add("<unk>", 0, 2).add("<s>", 0, 3).add("</s>", 0, 3).add("<0x0A>", 0, 6);
  return p.add("a", -0.0f).add("\xE2\x96\x81", -1).kind(2);
}

inline json small_bpe() {
  return {{"added_tokens", {{{"id", 5}, {"content", "<|end|>"}, {"special", true}}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"abc", 4}}},
            {"merges", {"a b", "ab c"}}}}};
}

// A checkpoint of eight tokens that has these files and nothing else.
class VocabularyFolder {
 public:
  explicit VocabularyFolder(const std::map<std::string, std::string>& files) {
    checkpoint.folder = folder_.path();
    checkpoint.decoder.vocab = 8;
    checkpoint.config_json = "{}";
    for (const auto& [name, bytes] : files) {
      write_file(folder_.path() / name, bytes);
      checkpoint.sidecars.push_back(folder_.path() / name);
    }
  }
  Result<Vocabulary> read() const { return read_vocabulary(checkpoint); }
  // "<Errc>: message" with the folder's path as F, or "accepted".
  std::string outcome() const {
    const auto result = read();
    if (result) return "accepted";
    constexpr const char* kCodes[] = {"io", "usage", "corrupt", "unsupported"};
    std::string message = result.error().message;
    for (size_t at; (at = message.find(folder_.path().string())) != std::string::npos;)
      message.replace(at, folder_.path().string().size(), "F");
    return fmt::format("{}: {}", kCodes[static_cast<size_t>(result.error().code)], message);
  }

  Checkpoint checkpoint;

 private:
  TemporaryFolder folder_;
};

inline std::string outcome_of(const std::map<std::string, std::string>& files) {
  return VocabularyFolder(files).outcome();
}

}  // namespace phiquant::test
