#include "quant/ggml/gguf_floats.h"

#include "quant/row_scheme.h"
#include "wire/gguf_types.h"

namespace phiquant {

SourceTensor gguf_floats(const GgufTensor& tensor) {
  const GgmlTypeInfo* type = find_ggml_type(tensor.type_id);
  if (type && is_weight_float(type->dtype))
    return {tensor.name, type->dtype, tensor.shape, tensor.bytes};
  const RowScheme* scheme = find_gguf_type(tensor.type_id);
  if (!scheme) return {tensor.name, DType::undefined, tensor.shape, nullptr};
  return decoded_rows(tensor.name, tensor.shape, *scheme, {}, {tensor.bytes});
}

}  // namespace phiquant
