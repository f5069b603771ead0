// 8-bit float tensors of a checkpoint: codes and scales become one tensor of floats.
#pragma once

#include <string>
#include <vector>

#include "model/checkpoint/folder.h"
#include "model/checkpoint/hf_config.h"

namespace phiquant {

// Whether config.json's `quantization_config` describes weights in 8-bit floats: quant_method "fp8"
// or "fbgemm_fp8" of transformers, "compressed-tensors" in the format float-quantized, "modelopt"
// with quant_algo FP8. Errors: corrupt (keys of a wrong kind).
Result<bool> describes_fp8(const ConfigView& quantization_config);

// Makes each F8_E4M3 or F8_E5M2 tensor one of float32, decoded as it is read. A "<path>.weight" is
// multiplied by "<path>.weight_scale" or, in spite of its name, "<path>.weight_scale_inv": one
// factor, one for each row, or one for each block of weight_block_size values (128 x 128 where the
// config does not say). Products are rounded to float32. Without scales the codes are the values.
// Scales of activations and of the KV cache are taken out of `found`; their names are returned.
// Errors: corrupt (scales whose shape fits none of these), unsupported (their dtype), io.
Result<std::vector<std::string>> join_fp8_tensors(const ConfigView& config,
                                                  std::vector<FoundTensor>& found);

}  // namespace phiquant
