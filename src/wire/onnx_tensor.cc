#include "wire/onnx_tensor.h"

#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "wire/onnx_payload.h"

namespace phiquant {
namespace {

// How elements of a dtype lie in a typed field. Source: the comments of TensorProto in
// onnx-ml.proto.
struct TypedLayout {
  uint32_t number;
  Wire unpacked;   // wire type of a single value
  unsigned width;  // bytes of the tensor that one value stands for
  const char* name;
};

// int32_data holds one value of up to 32 bits each, or one byte of packed 4- and 2-bit values.
// Complex numbers are two values.
TypedLayout typed_layout(DType t) {
  switch (t) {
    case DType::f32:
    case DType::c64:
      return {TensorField::kFloat, Wire::fixed32, 4, "float_data"};
    case DType::f64:
    case DType::c128:
      return {TensorField::kDouble, Wire::fixed64, 8, "double_data"};
    case DType::i64:
      return {TensorField::kInt64, Wire::varint, 8, "int64_data"};
    case DType::u64:
      return {TensorField::kUint64, Wire::varint, 8, "uint64_data"};
    case DType::u32:
      return {TensorField::kUint64, Wire::varint, 4, "uint64_data"};
    default:
      break;
  }
  const unsigned bits = dtype_bits(t);
  return {TensorField::kInt32, Wire::varint, bits < 8 ? 1 : bits / 8, "int32_data"};
}

const char* typed_name(uint32_t number) {
  switch (number) {
    case TensorField::kFloat:
      return "float_data";
    case TensorField::kInt32:
      return "int32_data";
    case TensorField::kInt64:
      return "int64_data";
    case TensorField::kDouble:
      return "double_data";
    default:
      return "uint64_data";
  }
}

// Whether the field holds numbers of a typed field; other wire types are unknown fields to
// protobuf.
bool is_typed(const WireField& f) {
  switch (f.number) {
    case TensorField::kFloat:
      return f.type == Wire::length || f.type == Wire::fixed32;
    case TensorField::kDouble:
      return f.type == Wire::length || f.type == Wire::fixed64;
    case TensorField::kInt32:
    case TensorField::kInt64:
    case TensorField::kUint64:
      return f.type == Wire::length || f.type == Wire::varint;
    default:
      return false;
  }
}

void add_typed(std::vector<TypedRun>& runs, const WireField& f) {
  if (!runs.empty() && runs.back().number == f.number &&
      runs.back().fields.data() + runs.back().fields.size() == f.whole.data())
    runs.back().fields = Bytes(runs.back().fields.data(), f.whole.data() + f.whole.size());
  else
    runs.push_back({f.number, f.whole});
}

}  // namespace

Result<TensorParts> split_tensor(const std::vector<Bytes>& parts, StripContext& context) {
  TensorParts out;
  out.where = parts.front().data();
  std::string header;
  constexpr uint64_t kField = 64;  // a string, or the share of a number in a growing array
  for (const Bytes part : parts) {
    WireReader reader(part);
    WireField f;
    while (reader.next(f)) {
      uint64_t cost = kField;
      if (f.number == TensorField::kRaw && f.type == Wire::length) {
        out.raw = f.content;
      } else if (is_typed(f)) {
        const size_t before = out.typed.size();
        add_typed(out.typed, f);
        if (out.typed.size() == before) cost = 0;
      } else if (f.number == TensorField::kString && f.type == Wire::length) {
        ++out.n_strings;
        cost += f.content.size();
      } else {
        append_bytes(header, f.whole);
        cost += 8 * f.whole.size();  // dims of one byte take eight
      }
      if (!context.charge_structure(cost)) return context.structure_too_big(f.whole.data());
    }
    if (reader.failed()) return context.error(Errc::corrupt, reader.where(), reader.problem());
  }
  if (!out.header.ParseFromString(header))
    return context.error(Errc::corrupt, out.where, "protobuf cannot parse the tensor's header");
  return out;
}

namespace {

// Reads the values of typed fields into little-endian elements.
class TypedDecoder {
 public:
  TypedDecoder(const TypedLayout& layout, uint64_t n_values)
      : layout_(layout), n_values_(n_values) {
    out_.reserve(n_values * layout.width);
  }

  // False where there are more values than wanted, or a number is cut off.
  bool add(const TypedRun& run) {
    WireReader reader(run.fields);
    WireField f;
    while (reader.next(f))
      if (!values(f.content)) return false;
    return !reader.failed();
  }
  uint64_t n_read() const { return n_read_; }
  std::string take() && { return std::move(out_); }

 private:
  bool values(Bytes bytes) {
    const std::byte* at = bytes.data();
    const std::byte* const end = at + bytes.size();
    while (at != end) {
      uint64_t value = 0;
      if (layout_.unpacked == Wire::varint) {
        if (!read_varint(at, end, value)) return false;
      } else {
        if (static_cast<size_t>(end - at) < layout_.width) return false;
        std::memcpy(&value, at, layout_.width);
        at += layout_.width;
      }
      if (n_read_++ == n_values_) return false;
      std::array<char, 8> little{};
      for (unsigned i = 0; i < layout_.width; ++i) little[i] = static_cast<char>(value >> (8 * i));
      out_.append(little.data(), layout_.width);
    }
    return true;
  }

  TypedLayout layout_;
  uint64_t n_values_, n_read_ = 0;
  std::string out_;
};

std::string wanted(const CheckedTensor& t) {
  return fmt::format("{} of shape {}", dtype_name(t.dtype), shape_string(t.shape));
}

// Dtype, shape and byte count of the header.
Result<CheckedTensor> check_header(const TensorParts& p, const StripContext& context) {
  const onnx::TensorProto& h = p.header;
  const auto fail = [&](Errc code, const std::string& what) {
    return context.error(code, p.where, what, h.name());
  };
  for (const auto& entry : h.external_data())
    if (entry.key() == kPayloadKey)
      return fail(Errc::corrupt,
                  fmt::format("external_data has the reserved key '{}'", kPayloadKey));
  if (h.has_segment())
    return fail(Errc::unsupported, "the tensor is stored in segments (save it whole)");
  if (h.data_type() == onnx::TensorProto::UNDEFINED)
    return fail(Errc::corrupt, "data_type is missing");
  CheckedTensor t;
  t.dtype = dtype_from_onnx(h.data_type());
  if (t.dtype == DType::undefined)
    return fail(Errc::unsupported, fmt::format("data_type {} is unknown", h.data_type()));
  for (const int64_t dim : h.dims()) {
    if (dim < 0) return fail(Errc::corrupt, fmt::format("dimension {} is negative", dim));
    t.shape.push_back(static_cast<uint64_t>(dim));
  }
  const auto size = tensor_bytes(t.dtype, t.shape);
  if (!size || !element_count(t.shape))
    return fail(Errc::corrupt, fmt::format("the size of {} overflows 63 bits", wanted(t)));
  t.size_bytes = *size;
  t.is_external = h.data_location() == onnx::TensorProto::EXTERNAL;
  return t;
}

bool has_bytes(const std::vector<TypedRun>& runs) {
  for (const TypedRun& run : runs) {
    WireReader reader(run.fields);
    WireField f;
    while (reader.next(f))
      if (!f.content.empty()) return true;
  }
  return false;
}

// One packed field of fixed-width values is the payload as it lies.
std::optional<Bytes> contiguous(const std::vector<TypedRun>& runs, const TypedLayout& layout) {
  if (runs.size() != 1 || layout.unpacked == Wire::varint) return std::nullopt;
  WireReader reader(runs[0].fields);
  WireField f;
  if (!reader.next(f) || f.type != Wire::length || f.whole.size() != runs[0].fields.size())
    return std::nullopt;
  return f.content;
}

Result<void> check_typed(const TensorParts& p, CheckedTensor& t, StripContext& context) {
  const TypedLayout layout = typed_layout(t.dtype);
  const auto fail = [&](Errc code, const std::string& what) {
    return context.error(code, p.typed.front().fields.data(), what, p.header.name());
  };
  uint64_t stored_bytes = 0;
  for (const TypedRun& run : p.typed) {
    if (run.number != layout.number)
      return fail(Errc::corrupt,
                  fmt::format("{} elements are stored in {}, wanted {}", dtype_name(t.dtype),
                              typed_name(run.number), layout.name));
    stored_bytes += run.fields.size();
  }
  const uint64_t n_values = t.size_bytes / layout.width;
  if (const auto bytes = contiguous(p.typed, layout)) {
    if (bytes->size() != t.size_bytes)
      return fail(Errc::corrupt, fmt::format("{} has {} bytes, {} wants {}", layout.name,
                                             bytes->size(), wanted(t), t.size_bytes));
    t.stored = *bytes;
    return {};
  }
  // A value takes at least a byte in the file: nothing is allocated for elements that cannot be
  // there.
  if (n_values > stored_bytes)
    return fail(Errc::corrupt, fmt::format("{} has fewer values than the {} of {}", layout.name,
                                           n_values, wanted(t)));
  if (t.size_bytes >= kStripBytes && !context.charge_decoded(t.size_bytes))
    return fail(Errc::unsupported,
                fmt::format("more than {} MiB are stored as lists of numbers (save with raw_data)",
                            kMaxDecodedBytes >> 20));
  TypedDecoder decoder(layout, n_values);
  for (const TypedRun& run : p.typed)
    if (!decoder.add(run) && decoder.n_read() <= n_values)
      return fail(Errc::corrupt, fmt::format("{} ends within a value", layout.name));
  if (decoder.n_read() != n_values)
    return fail(Errc::corrupt,
                fmt::format("{} has {} values than the {} of {}", layout.name,
                            decoder.n_read() > n_values ? "more" : "fewer", n_values, wanted(t)));
  t.decoded = std::move(decoder).take();
  return {};
}

Result<uint64_t> decimal(const std::string& text, const char* key, const TensorParts& p,
                         const StripContext& context) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value);
  if (text.empty() || stop != end || status != std::errc() ||
      value > uint64_t{std::numeric_limits<int64_t>::max()})
    return context.error(
        Errc::corrupt, p.where,
        fmt::format("external {} is '{}', wanted a number from 0 to 2^63-1", key, printable(text)),
        p.header.name());
  return value;
}

}  // namespace

Result<CheckedTensor> check_tensor(const TensorParts& p, StripContext& context) {
  PHIQUANT_ASSIGN(CheckedTensor t, check_header(p, context));
  const auto fail = [&](Errc code, const std::string& what) {
    return context.error(code, p.where, what, p.header.name());
  };
  const bool typed = !p.typed.empty() && has_bytes(p.typed);
  // Some writers leave an empty raw_data beside the typed field.
  const bool raw = p.raw && (!p.raw->empty() || !typed);
  if (t.is_external) {
    if (t.dtype == DType::string) return fail(Errc::unsupported, "strings in external data");
    if (typed || (p.raw && !p.raw->empty()) || p.n_strings > 0)
      return fail(Errc::corrupt, "the tensor is external and has data of its own");
    return t;
  }
  if (int{typed} + int{raw && !p.raw->empty()} + int{p.n_strings > 0} > 1)
    return fail(Errc::corrupt, "the elements are stored twice, in different fields");
  if (t.dtype == DType::string) {
    if (raw || typed || p.n_strings != *element_count(t.shape))
      return fail(Errc::corrupt, fmt::format("{} strings are stored, {} wants {}", p.n_strings,
                                             wanted(t), *element_count(t.shape)));
    return t;
  }
  if (p.n_strings > 0)
    return fail(Errc::corrupt,
                fmt::format("{} elements are stored as strings", dtype_name(t.dtype)));
  if (typed) {
    PHIQUANT_TRY(check_typed(p, t, context));
    return t;
  }
  const uint64_t found = raw ? p.raw->size() : 0;
  if (found != t.size_bytes)
    return fail(
        Errc::corrupt,
        raw ? fmt::format("raw_data has {} bytes, {} wants {}", found, wanted(t), t.size_bytes)
            : fmt::format("there is no data, {} wants {} bytes", wanted(t), t.size_bytes));
  if (raw) t.stored = *p.raw;
  return t;
}

Result<ExternalPlace> external_place(const TensorParts& p, const StripContext& context) {
  ExternalPlace out;
  bool location = false, offset = false;
  for (const auto& entry : p.header.external_data()) {
    const bool twice = (entry.key() == "location" && location) ||
                       (entry.key() == "offset" && offset) ||
                       (entry.key() == "length" && out.length);
    if (twice)  // readers disagree about which one counts
      return context.error(Errc::corrupt, p.where,
                           fmt::format("external {} is given twice", entry.key()), p.header.name());
    if (entry.key() == "location") {
      location = true;
      out.location = entry.value();
    } else if (entry.key() == "offset") {
      offset = true;
      PHIQUANT_ASSIGN(out.offset, decimal(entry.value(), "offset", p, context));
    } else if (entry.key() == "length") {
      PHIQUANT_ASSIGN(out.length, decimal(entry.value(), "length", p, context));
    }
  }
  if (!location)
    return context.error(Errc::corrupt, p.where, "external location is missing", p.header.name());
  return out;
}

}  // namespace phiquant
