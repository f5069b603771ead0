#include "model/tokenizer/sentencepiece.h"

#include <cmath>
#include <cstring>

#include <fmt/core.h>

#include "core/text.h"
#include "core/utf8.h"
#include "wire/protobuf_wire.h"

namespace phiquant {
namespace {

constexpr size_t kMaxPieces = size_t{1} << 22;

// Field numbers.
constexpr uint32_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3;  // of the model
constexpr uint32_t kPieceText = 1, kPieceScore = 2, kPieceType = 3;     // of a piece
constexpr uint32_t kModelType = 3;                                      // of trainer_spec
constexpr uint32_t kAddDummyPrefix = 3;                                 // of normalizer_spec
constexpr uint64_t kUnigram = 1, kBpe = 2;

uint64_t varint_of(const WireField& field) {
  const std::byte* at = field.content.data();
  uint64_t value = 0;
  return read_varint(at, at + field.content.size(), value) ? value : 0;
}

class Reader {
 public:
  explicit Reader(std::string_view where) : where_(where) {}
  Result<SentencePieceModel> run(std::string_view bytes);

 private:
  Result<void> add_piece(Bytes bytes);
  // The last number of field `number`, as protobuf takes it.
  Result<uint64_t> number_in(Bytes bytes, uint32_t number, uint64_t fallback) const;
  Error corrupt(const std::string& what) const {
    return {Errc::corrupt, fmt::format("{}: {}", where_, what)};
  }
  Error damaged(const WireReader& reader) const {
    return corrupt(fmt::format("not a sentencepiece model: {}", reader.problem()));
  }

  std::string_view where_;
  SentencePieceModel out_;
};

Result<uint64_t> Reader::number_in(Bytes bytes, uint32_t number, uint64_t fallback) const {
  WireReader reader(bytes);
  WireField field;
  while (reader.next(field))
    if (field.number == number && field.type == Wire::varint) fallback = varint_of(field);
  if (reader.failed()) return damaged(reader);
  return fallback;
}

Result<void> Reader::add_piece(Bytes bytes) {
  const size_t id = out_.pieces.size();
  if (id == kMaxPieces)
    return Error{Errc::unsupported, fmt::format("{}: more than {} pieces", where_, kMaxPieces)};
  SentencePieceModel::Piece piece;
  uint64_t type = 1;
  WireReader reader(bytes);
  WireField field;
  while (reader.next(field)) {
    if (field.number == kPieceText && field.type == Wire::length)
      piece.text.assign(reinterpret_cast<const char*>(field.content.data()), field.content.size());
    if (field.number == kPieceScore && field.type == Wire::fixed32)
      std::memcpy(&piece.score, field.content.data(), sizeof piece.score);
    if (field.number == kPieceType && field.type == Wire::varint) type = varint_of(field);
  }
  if (reader.failed()) return damaged(reader);
  if (piece.text.empty()) return corrupt(fmt::format("piece {} has no text", id));
  if (!is_utf8(piece.text))
    return corrupt(fmt::format("piece {} '{}' is not UTF-8", id, printable(piece.text)));
  if (!std::isfinite(piece.score))
    return corrupt(
        fmt::format("piece {} '{}': its score is not finite", id, printable(piece.text)));
  if (type < 1 || type > 6)
    return corrupt(fmt::format("piece {} '{}': unknown type {}", id, printable(piece.text), type));
  piece.type = static_cast<PieceType>(type);
  out_.pieces.push_back(std::move(piece));
  return {};
}

Result<SentencePieceModel> Reader::run(std::string_view bytes) {
  uint64_t model_type = kUnigram, add_dummy_prefix = 1;
  WireReader reader(std::as_bytes(std::span(bytes)));
  WireField field;
  while (reader.next(field)) {
    if (field.type != Wire::length) continue;
    if (field.number == kPieces) PHIQUANT_TRY(add_piece(field.content));
    if (field.number == kTrainerSpec) {
      PHIQUANT_ASSIGN(model_type, number_in(field.content, kModelType, model_type));
    }
    if (field.number == kNormalizerSpec) {
      PHIQUANT_ASSIGN(add_dummy_prefix,
                      number_in(field.content, kAddDummyPrefix, add_dummy_prefix));
    }
  }
  if (reader.failed()) return damaged(reader);
  if (out_.pieces.empty()) return corrupt("not a sentencepiece model: it has no pieces");
  if (model_type != kBpe)
    return Error{Errc::unsupported,
                 fmt::format("{}: a sentencepiece model of type {} (known: {}, BPE)", where_,
                             model_type, kBpe)};
  out_.add_dummy_prefix = add_dummy_prefix != 0;
  return std::move(out_);
}

}  // namespace

Result<SentencePieceModel> read_sentencepiece(std::string_view where, std::string_view bytes) {
  return Reader(where).run(bytes);
}

}  // namespace phiquant
