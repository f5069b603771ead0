#include "format/side_files.h"

#include <algorithm>
#include <utility>

#include "core/input_file.h"

namespace phiquant::format {

void add_text_file(Plan& plan, std::string name, std::string text) {
  const uint64_t size = text.size();
  plan.files.push_back({std::move(name), size, {{0, std::move(text)}}});
}

Result<void> add_sidecars(Plan& plan, const Checkpoint& checkpoint) {
  for (const auto& path : checkpoint.sidecars) {
    const std::string name = path.filename().string();
    const auto has_name = [&](const OutFile& file) { return file.path == name; };
    if (std::any_of(plan.files.begin(), plan.files.end(), has_name)) continue;
    PHIQUANT_ASSIGN(const auto file, InputFile::open(path));
    const uint64_t size = file->size_bytes();
    plan.files.push_back({name, size, {}});
    plan.tensors.push_back(
        {name, DType::u8, {size}, size, static_cast<uint32_t>(plan.files.size() - 1), 0});
    if (size > 0)
      plan.jobs.push_back(CopyJob{{name, DType::u8, {size}, file_range(file, 0, size)},
                                  static_cast<TensorId>(plan.tensors.size() - 1)});
  }
  return {};
}

}  // namespace phiquant::format
