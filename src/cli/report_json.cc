#include "cli/report_json.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "cli/catalog.h"

namespace phiquant::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string finish(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

template <class T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json error_json(const TensorError& e) {
  return {{"sqnr_db", number(e.sqnr_db)},
          {"exact", std::isinf(e.sqnr_db) && e.sqnr_db > 0},
          {"cosine", number(e.cosine)},
          {"max_abs", number(e.max_abs)},
          {"overflowed", e.overflowed},
          {"underflowed", e.underflowed},
          {"nan", e.nan}};
}

Json row_json(const ReportRow& row) {
  return {{"tensor", row.tensor},
          {"node", row.node},
          {"role", row.role},
          {"from", row.from},
          {"shape", row.shape},
          {"action", row.action},
          {"bits", row.bits},
          {"block_size", row.block_size},
          {"reason", row.reason},
          {"bytes_before", row.bytes_before},
          {"bytes_after", row.bytes_after},
          {"error", row.error ? error_json(*row.error) : Json(nullptr)}};
}

}  // namespace

std::string quantize_json(const Invocation& request, const QuantizeReport& report) {
  Json json = {
      {"phiquant", PHIQUANT_VERSION},
      {"input", request.quantize.source.path.string()},
      {"output", request.quantize.output.path.string()},
      {"precision", kPrecisionNames[static_cast<size_t>(request.quantize.recipe.precision)]},
      {"dry_run", report.dry_run},
      {"input_bytes", report.input_bytes},
      {"output_bytes", report.output_bytes},
      {"seconds", report.seconds},
      {"peak_memory_bytes", report.peak_memory_bytes},
      {"free_disk_bytes", optional(report.free_disk_bytes)},
      {"total_sqnr_db", report.total_sqnr_db ? number(*report.total_sqnr_db) : Json(nullptr)},
      {"warnings", report.warnings}};
  Json files = Json::array(), tensors = Json::array();
  for (const auto& file : report.files)
    files.push_back({{"path", file.path}, {"size_bytes", file.size_bytes}});
  for (const ReportRow& row : report.rows) tensors.push_back(row_json(row));
  json["files"] = std::move(files);
  json["tensors"] = std::move(tensors);
  return finish(json);
}

std::string inspect_json(const InspectReport& report) {
  Json properties = Json::array(), io = Json::array(), ops = Json::object(),
       tensors = Json::array();
  for (const auto& [name, value] : report.properties)
    properties.push_back({{"name", name}, {"value", value}});
  for (const auto& value : report.io)
    io.push_back({{"name", value.name}, {"type", value.type}, {"is_input", value.is_input}});
  for (const auto& [op, count] : report.ops) ops[op] = count;
  for (const InspectTensor& t : report.tensors)
    tensors.push_back({{"name", t.name},
                       {"dtype", t.type},
                       {"shape", t.shape},
                       {"size_bytes", t.size_bytes},
                       {"location", t.location},
                       {"used_by", t.used_by},
                       {"quantizable", t.quantizable}});
  return finish({{"phiquant", PHIQUANT_VERSION},
                 {"path", report.path},
                 {"format", report.format},
                 {"size_bytes", report.size_bytes},
                 {"properties", std::move(properties)},
                 {"io", std::move(io)},
                 {"ops", std::move(ops)},
                 {"tensors", std::move(tensors)},
                 {"warnings", report.warnings}});
}

std::string compare_json(const Invocation& request, const CompareReport& report) {
  Json pairs = Json::array();
  for (const CompareRow& row : report.rows)
    pairs.push_back({{"name", row.name},
                     {"name_b", row.name_b},
                     {"dtype_a", row.dtype_a},
                     {"dtype_b", row.dtype_b},
                     {"shape", row.shape},
                     {"error", error_json(row.error)}});
  return finish({{"phiquant", PHIQUANT_VERSION},
                 {"a", request.operands[0]},
                 {"b", request.operands[1]},
                 {"total_sqnr_db", number(report.total_sqnr_db)},
                 {"pairs", std::move(pairs)},
                 {"only_a", report.only_a},
                 {"only_b", report.only_b}});
}

std::string list_json() {
  Json schemes = Json::array(), formats = Json::array(), simd = Json::array();
  for (const SchemeLine& s : scheme_lines())
    schemes.push_back({{"name", s.name},
                       {"format", s.format},
                       {"precisions", s.precisions},
                       {"symmetric", s.symmetric},
                       {"asymmetric", s.asymmetric},
                       {"blocks", s.blocks},
                       {"summary", s.summary}});
  for (const FormatLine& f : format_lines())
    formats.push_back({{"name", f.name}, {"summary", f.summary}});
  for (const SimdLine& t : simd_lines()) simd.push_back({{"name", t.name}, {"active", t.active}});
  return finish({{"phiquant", PHIQUANT_VERSION},
                 {"schemes", std::move(schemes)},
                 {"formats", std::move(formats)},
                 {"simd_targets", std::move(simd)}});
}

}  // namespace phiquant::cli
