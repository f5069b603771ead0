#include "core/atomic_output.h"

#include <fmt/format.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "core/file.h"
#include "core/file_writer.h"
#include "core/output_checks.h"
#include "core/temp_sibling.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

// The name of a single file inside its temporary folder.
constexpr const char* kSingleFile = "output";

class Output final : public AtomicOutput {
 public:
  Output(fs::path shown, fs::path target, Options options)
      : shown_(std::move(shown)), target_(std::move(target)), options_(options) {}
  ~Output() override { abandon(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  Result<void> open(const std::vector<OutputFileSpec>& files);
  Result<void> write_at(uint32_t index, uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> commit() override;

 private:
  Result<void> add_file(const OutputFileSpec& file);
  Result<void> sync_folders();
  void abandon();

  fs::path shown_, target_;  // as the user wrote it; resolved
  Options options_;
  std::vector<fs::path> parents_;  // created here, outermost first
  TempSibling temp_;
  std::set<fs::path> folders_;  // of the temporary, itself included
  std::vector<std::unique_ptr<FileWriter>> writers_;
  std::atomic<bool> failed_{false};
  bool committed_ = false;
};

Result<void> Output::open(const std::vector<OutputFileSpec>& files) {
  PHIQUANT_ASSIGN(parents_, create_folders(target_.parent_path()));
  PHIQUANT_ASSIGN(temp_, create_temp_sibling(target_));
  folders_.insert(temp_.path);
  for (const OutputFileSpec& file : files) PHIQUANT_TRY(add_file(file));
  return {};
}

Result<void> Output::add_file(const OutputFileSpec& file) {
  const fs::path relative =
      options_.is_directory ? fs::path(file.relative_path) : fs::path(kSingleFile);
  if (relative.empty() || relative.is_absolute() || relative != relative.lexically_normal() ||
      *relative.begin() == "..")
    return Error{Errc::io, fmt::format("{}: '{}' is no path inside the output", shown_.string(),
                                       file.relative_path)};
  for (fs::path folder = relative.parent_path(); !folder.empty(); folder = folder.parent_path())
    folders_.insert(temp_.path / folder);
  std::error_code error;
  fs::create_directories((temp_.path / relative).parent_path(), error);
  if (error)
    return io_error(shown_ / relative.parent_path(), "cannot create the folder", error.value());
  PHIQUANT_ASSIGN(
      auto writer,
      FileWriter::create(temp_.path / relative, options_.is_directory ? shown_ / relative : shown_,
                         file.size_bytes, options_.direct_io));
  writers_.push_back(std::move(writer));
  return {};
}

Result<void> Output::write_at(uint32_t index, uint64_t offset, std::span<const std::byte> bytes) {
  assert(index < writers_.size() && !committed_);
  auto result = writers_[index]->write_at(offset, bytes);
  if (!result) failed_.store(true, std::memory_order_relaxed);
  return result;
}

Result<void> Output::sync_folders() {
  for (const fs::path& folder : folders_) PHIQUANT_TRY(sync_folder(folder));
  return {};
}

Result<void> Output::commit() {
  assert(!committed_);
  if (failed_.exchange(true))
    return Error{Errc::io,
                 fmt::format("{}: not finished: an earlier write failed", shown_.string())};
  for (auto& writer : writers_) PHIQUANT_TRY(writer->finish());
  PHIQUANT_TRY(sync_folders());
  const fs::path from = options_.is_directory ? temp_.path : temp_.path / kSingleFile;
  PHIQUANT_ASSIGN(const auto old, move_into_place(from, target_, {.force = options_.force}));
  committed_ = true;
  auto synced = sync_folder(target_.parent_path());
  for (const fs::path& parent : parents_)
    if (synced) synced = sync_folder(parent.parent_path());
  // What is left of the temporary, and the old output, which a crash up to here would have kept.
  std::error_code ignored;
  if (!options_.is_directory) fs::remove(temp_.path, ignored);
  if (old) fs::remove_all(*old, ignored);
  if (!synced)
    return Error{Errc::io, synced.error().message +
                               " (the output is complete, but may not survive a power cut)"};
  return {};
}

void Output::abandon() {
  if (committed_) return;
  writers_.clear();
  std::error_code ignored;
  if (!temp_.path.empty()) fs::remove_all(temp_.path, ignored);
  remove_empty_folders(parents_);
}

}  // namespace

Result<std::unique_ptr<AtomicOutput>> AtomicOutput::create(const fs::path& target,
                                                           const std::vector<OutputFileSpec>& files,
                                                           const Options& options) {
  assert(options.is_directory || files.size() == 1);
  PHIQUANT_ASSIGN(const fs::path resolved, resolve_target(target));
  clean_stale_siblings(resolved);  // first: it may put an old output back, and it frees space
  PHIQUANT_TRY(check_target(resolved, target, files, options));
  PHIQUANT_TRY(check_parent(resolved));
  PHIQUANT_TRY(check_space(resolved, target, files));
  auto output = std::make_unique<Output>(target, resolved, options);
  PHIQUANT_TRY(output->open(files));
  return std::unique_ptr<AtomicOutput>(std::move(output));
}

}  // namespace phiquant
