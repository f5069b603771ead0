#include "format/gguf/layout.h"

#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "core/overload.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

// Tensors [begin, end) of one part.
struct Part {
  size_t begin = 0, end = 0;
};

uint64_t stored_bytes(const GgufOutTensor& t) {
  const GgmlTypeInfo& type = *find_ggml_type(t.type);
  return element_count(t.shape).value_or(0) / type.block_size * type.block_bytes;
}

std::vector<Part> cut(const std::vector<GgufOutTensor>& tensors, uint64_t max_size) {
  std::vector<Part> parts(1);
  uint64_t size = 0;
  for (const GgufOutTensor& t : tensors) {
    const uint64_t bytes = *checked_round_up(stored_bytes(t), kGgufAlignment);
    Part& last = parts.back();
    if (max_size != 0 && size != 0 && size + bytes > max_size) {
      parts.push_back({last.end, last.end + 1});
      size = bytes;
    } else {
      ++last.end;
      size += bytes;
    }
  }
  return parts;
}

void set_outputs(Job& job, TensorId id) {
  std::visit(Overload{[&](CopyJob& j) { j.out = id; }, [&](CastJob& j) { j.out = id; },
                      [&](DecodeJob& j) { j.out = id; }, [&](RowJob& j) { j.planes[0] = id; },
                      // These have several outputs, a tensor of GGUF is one.
                      [](BlockJob&) {}, [](Int8Job&) {}},
             job);
}

void add_tensor(Plan& plan, GgufOutTensor t, const GgufTensorInfo& info, uint64_t data_begin) {
  const auto id = static_cast<TensorId>(plan.tensors.size());
  const DType dtype = find_ggml_type(t.type)->dtype;
  const bool is_plain = is_weight_float(dtype);
  plan.tensors.push_back({t.name, is_plain ? dtype : DType::u8,
                          is_plain ? t.shape : Shape{info.size_bytes}, info.size_bytes,
                          static_cast<uint32_t>(plan.files.size()), data_begin + info.offset});
  set_outputs(t.job, id);
  t.row.job = static_cast<uint32_t>(plan.jobs.size());
  t.row.bytes_after = info.size_bytes;
  plan.jobs.push_back(std::move(t.job));
  plan.rows.push_back(std::move(t.row));
}

void add_file(Plan& plan, std::string path, GgufHeader header, std::span<GgufOutTensor> tensors) {
  for (const GgufOutTensor& t : tensors) header.tensors.push_back({t.name, t.shape, t.type});
  const uint64_t data_bytes = place_gguf_tensors(header);
  std::string bytes = serialize_gguf_header(header);
  const uint64_t begin = bytes.size();
  for (size_t i = 0; i < tensors.size(); ++i)
    add_tensor(plan, std::move(tensors[i]), header.tensors[i], begin);
  plan.files.push_back({std::move(path), begin + data_bytes, {{0, std::move(bytes)}}});
}

Result<void> check_output(const Request& o) {
  const bool is_file = o.output.path.extension() == ".gguf";
  if (o.output.max_file_size == 0 && !is_file)
    return Error{Errc::usage,
                 fmt::format("{}: --format gguf writes one file (give -o a name that ends in "
                             ".gguf; with --max-file-size a folder)",
                             o.output.path.string())};
  if (o.output.max_file_size != 0 && is_file)
    return Error{Errc::usage,
                 fmt::format("{}: --max-file-size needs a folder as output, not one .gguf file",
                             o.output.path.string())};
  return {};
}

}  // namespace

Result<void> lay_out_gguf(Plan& plan, std::vector<GgufKeyValue> metadata,
                          std::vector<GgufOutTensor> tensors, const Request& options) {
  PHIQUANT_TRY(check_output(options));
  plan.is_directory = options.output.max_file_size != 0;
  GgufHeader header;
  // The parts of a file from elsewhere may have been aligned differently.
  remove_gguf_key(metadata, "general.alignment");
  if (!plan.is_directory) {
    header.metadata = std::move(metadata);
    add_file(plan, "", std::move(header), tensors);
    return {};
  }
  const std::vector<Part> parts = cut(tensors, options.output.max_file_size);
  const auto folder = options.output.path.lexically_normal();
  const std::string prefix =
      (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  for (size_t no = 0; no < parts.size(); ++no) {
    GgufHeader part;
    if (no == 0) part.metadata = metadata;
    set_gguf_key(part.metadata, std::string(kGgufSplitNo), static_cast<uint16_t>(no));
    set_gguf_key(part.metadata, std::string(kGgufSplitCount), static_cast<uint16_t>(parts.size()));
    set_gguf_key(part.metadata, std::string(kGgufSplitTensors),
                 static_cast<int32_t>(tensors.size()));
    add_file(plan, gguf_split_name(prefix, no, parts.size()), std::move(part),
             std::span(tensors).subspan(parts[no].begin, parts[no].end - parts[no].begin));
  }
  return {};
}

}  // namespace phiquant
