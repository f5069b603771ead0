// Tied embeddings whose codes are stored once.
#pragma once

#include "decide/choice.h"
#include "format/onnx/edit.h"
#include "format/onnx/rewrite.h"
#include "model/checkpoint.h"

namespace phiquant::format {

// The embedding reads the codes of the lm_head, which `choice` describes: `gather` becomes a
// GatherBlockQuantized of them, `transpose` in front of it goes. Edits are queued.
void share_codes(Editor& editor, onnx::NodeProto& gather, onnx::NodeProto& transpose,
                 const QuantizedNames& head, const Decoder& decoder, const Choice& choice);

}  // namespace phiquant::format
