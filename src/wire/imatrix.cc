#include "wire/imatrix.h"

#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "core/input_file.h"
#include "core/text.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

using Bytes = std::span<const std::byte>;

Error corrupt(std::string_view where, std::string_view entry, const std::string& what) {
  return {Errc::corrupt, fmt::format("{}: imatrix entry '{}': {}", where, printable(entry), what)};
}

Result<void> add_entry(Imatrix& out, std::string_view where, std::string name,
                       std::vector<float> values) {
  for (const float v : values)
    if (!std::isfinite(v) || v < 0)
      return corrupt(where, name, fmt::format("a value of {}, wanted finite numbers >= 0", v));
  auto shared = std::make_shared<const std::vector<float>>(std::move(values));
  if (!out.entries.emplace(name, std::move(shared)).second)
    return corrupt(where, name, "occurs twice");
  return {};
}

// ---- GGUF: "<weight>.in_sum2" [experts, columns] and "<weight>.counts" [experts or 1] ----

struct Sums {
  const GgufTensorInfo *sums = nullptr, *counts = nullptr;
};

std::vector<float> floats_of(const GgufHeader& header, Bytes file, const GgufTensorInfo& t) {
  std::vector<float> values(static_cast<size_t>(t.size_bytes / sizeof(float)));
  std::memcpy(values.data(), file.data() + header.data_begin + t.offset, t.size_bytes);
  return values;
}

Result<void> add_sums(Imatrix& out, std::string_view where, const GgufHeader& header, Bytes file,
                      const std::string& name, const Sums& s) {
  if (!s.sums || !s.counts) return corrupt(where, name, "has not both of .in_sum2 and .counts");
  if (s.sums->type_id != kGgmlF32 || s.counts->type_id != kGgmlF32)
    return corrupt(where, name, "wanted float32 sums and counts");
  std::vector<float> values = floats_of(header, file, *s.sums);
  const std::vector<float> counts = floats_of(header, file, *s.counts);
  if (values.size() % counts.size() != 0)
    return corrupt(where, name, fmt::format("{} counts for {} sums", counts.size(), values.size()));
  const size_t columns = values.size() / counts.size();
  for (size_t j = 0; j < counts.size(); ++j) {
    if (!std::isfinite(counts[j]) || std::abs(counts[j]) > 1e15f)
      return corrupt(where, name, fmt::format("a count of {}", counts[j]));
    const auto count = static_cast<float>(std::lround(counts[j]));
    // An expert that no token met: all of its columns count the same.
    for (float& v : std::span(values).subspan(j * columns, columns)) v = count > 0 ? v / count : 1;
  }
  return add_entry(out, where, name, std::move(values));
}

Result<Imatrix> from_gguf(std::string_view where, Bytes file) {
  PHIQUANT_ASSIGN(const GgufHeader header, parse_gguf_header(where, file));
  std::map<std::string, Sums> found;
  const auto base = [](const std::string& name, std::string_view suffix) {
    return name.substr(0, name.size() - suffix.size());
  };
  for (const GgufTensorInfo& t : header.tensors) {
    if (t.name.ends_with(".in_sum2")) found[base(t.name, ".in_sum2")].sums = &t;
    if (t.name.ends_with(".counts")) found[base(t.name, ".counts")].counts = &t;
  }
  Imatrix out;
  for (const auto& [name, sums] : found)
    PHIQUANT_TRY(add_sums(out, where, header, file, name, sums));
  out.n_chunks =
      static_cast<int64_t>(gguf_unsigned(header.metadata, "imatrix.chunk_count").value_or(0));
  const GgufValue* datasets = find_gguf_key(header.metadata, "imatrix.datasets");
  const GgufArray* names = datasets ? std::get_if<GgufArray>(datasets) : nullptr;
  if (names && names->type == GgufType::string && !names->values.empty())
    out.dataset = std::get<std::string>(names->values.front());
  return out;
}

// ---- The older format: int32 counts and lengths, float32 values ----

class Records {
 public:
  Records(std::string_view where, Bytes file) : where_(where), file_(file) {}

  Result<Imatrix> run() {
    Imatrix out;
    PHIQUANT_ASSIGN(const int32_t n, number());
    if (n < 1)
      return Error{
          Errc::corrupt,
          fmt::format("{}: is no imatrix: neither GGUF nor a file of one entry or more", where_)};
    for (int32_t i = 0; i < n; ++i) PHIQUANT_TRY(entry(out));
    // What follows came with later versions.
    if (left() < sizeof(int32_t)) return out;
    PHIQUANT_ASSIGN(const int32_t chunks, number());
    out.n_chunks = chunks;
    if (left() < sizeof(int32_t)) return out;
    PHIQUANT_ASSIGN(out.dataset, text());
    return out;
  }

 private:
  size_t left() const { return file_.size() - at_; }
  Error short_file() const {
    return {Errc::corrupt, fmt::format("{}: imatrix ends at byte {}, in the middle of an entry "
                                       "(incomplete download, or no imatrix?)",
                                       where_, file_.size())};
  }
  Result<int32_t> number() {
    int32_t value = 0;
    if (left() < sizeof(value)) return short_file();
    std::memcpy(&value, file_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }
  Result<std::string> text() {
    PHIQUANT_ASSIGN(const int32_t size, number());
    if (size < 0 || static_cast<size_t>(size) > left()) return short_file();
    std::string out(reinterpret_cast<const char*>(file_.data()) + at_, static_cast<size_t>(size));
    at_ += out.size();
    return out;
  }
  Result<void> entry(Imatrix& out) {
    PHIQUANT_ASSIGN(std::string name, text());
    PHIQUANT_ASSIGN(const int32_t n_calls, number());
    PHIQUANT_ASSIGN(const int32_t n, number());
    if (n < 1 || static_cast<size_t>(n) > left() / sizeof(float)) return short_file();
    std::vector<float> values(static_cast<size_t>(n));
    std::memcpy(values.data(), file_.data() + at_, values.size() * sizeof(float));
    at_ += values.size() * sizeof(float);
    if (n_calls > 0)
      for (float& v : values) v /= static_cast<float>(n_calls);
    return add_entry(out, where_, std::move(name), std::move(values));
  }

  std::string_view where_;
  Bytes file_;
  size_t at_ = 0;
};

}  // namespace

Result<Imatrix> parse_imatrix(std::string_view where, Bytes file) {
  PHIQUANT_ASSIGN(Imatrix out,
                  looks_like_gguf(file) ? from_gguf(where, file) : Records(where, file).run());
  if (out.entries.empty())
    return Error{Errc::corrupt,
                 fmt::format("{}: holds no entries of an importance matrix (tensors named "
                             "<weight>.in_sum2; is it a model?)",
                             where)};
  return out;
}

Result<Imatrix> read_imatrix(const std::filesystem::path& path) {
  PHIQUANT_ASSIGN(const auto file, InputFile::open(path));
  PHIQUANT_ASSIGN(const Bytes bytes, file->map());
  return parse_imatrix(printable(path.string()), bytes);
}

}  // namespace phiquant
