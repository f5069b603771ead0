// Quantized tensors of an MLX folder: codes, scales and biases become one tensor of floats.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "model/arch/arch.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/hf_config.h"

namespace phiquant {

// Whether the folder is a checkpoint whose config.json has MLX's `quantization`. Folders of floats
// are checkpoints like any other.
bool looks_like_mlx(const std::filesystem::path& path);

// config.json's `quantization`, where it is MLX's: an object with group_size and bits. Other
// kinds have a quant_method and are not read. Errors: corrupt (not an object), unsupported (a mode
// that is not known).
Result<std::optional<ConfigView>> mlx_quantization(const ConfigView& config);

// Joins each "<path>.weight" of uint32 codes with its "<path>.scales" and, in the affine mode,
// "<path>.biases": a tensor of the logical shape, float32, decoded as it is read. Bits and group
// follow from the stored shapes and the width that the architecture says, as in mlx_lm, and must
// agree with what config.json says of the module. Errors: corrupt (parts missing, shapes that do
// not fit, each named), unsupported (bits, group or mode that is not known).
Result<void> join_mlx_tensors(const Architecture& arch, const Decoder& decoder,
                              const ConfigView& quantization, std::vector<FoundTensor>& found);

}  // namespace phiquant
