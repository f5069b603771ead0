// sentencepiece's tokenizer.model: a protobuf message, read by field number.
// Source: google/sentencepiece, src/sentencepiece_model.proto.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/vocabulary.h"
#include "phiquant/error.h"

namespace phiquant {

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };
  std::vector<Piece> pieces;     // by id
  bool add_dummy_prefix = true;  // a space before the text
};

// Errors: corrupt (not such a message; no pieces; a piece that is no UTF-8, has no text, an unknown
// type or a score that is not finite), unsupported (a model other than BPE; more than 2^22 pieces).
Result<SentencePieceModel> read_sentencepiece(std::string_view where, std::string_view bytes);

}  // namespace phiquant
