// A GGUF model as a checkpoint, so that it can become any other format.
#pragma once

#include "model/checkpoint.h"
#include "phiquant/error.h"
#include "wire/gguf_model.h"

namespace phiquant {

// The decoder is read from a config.json that is made from the metadata (config_json of the
// result). Weights are those of GgufTensor::floats: quantized ones are decoded as they are read.
// There are no sidecars: make_tokenizer() makes them of the vocabulary, for which the model must
// outlive the checkpoint. Errors: corrupt (keys
// or tensors that are missing, extra or misshapen, each named), unsupported (an architecture other
// than phi2, phi3 and phimoe; a tensor whose type cannot be decoded).
Result<Checkpoint> gguf_checkpoint(const GgufModel& model);

}  // namespace phiquant
