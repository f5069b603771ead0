// Where a reader of serialized models stands, for messages, and what it may still allocate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"
#include "wire/onnx_fields.h"
#include "wire/protobuf_wire.h"

namespace phiquant {

class StripContext {
 public:
  StripContext(std::string file, Bytes bytes);

  // "<file>: graph.initializer[3] 'name': <what> (byte 812)"
  Error error(Errc code, const std::byte* where, const std::string& what,
              std::string_view name = {}) const;
  // "graph.initializer[3]"
  std::string path() const;

  void enter(const OnnxField& field, uint32_t index) { steps_.push_back({&field, index}); }
  void leave() { steps_.pop_back(); }
  // Messages around the present one.
  size_t nesting() const { return steps_.size(); }

  // Memory that the parsed structure will need; false once it passes the cap.
  bool charge_structure(uint64_t n_bytes) { return take(structure_left_, n_bytes); }
  bool charge_decoded(uint64_t n_bytes) { return take(decoded_left_, n_bytes); }
  Error structure_too_big(const std::byte* where) const;

 private:
  struct Step {
    const OnnxField* field;
    uint32_t index;
  };
  static bool take(uint64_t& left, uint64_t n) {
    if (n > left) return false;
    left -= n;
    return true;
  }

  std::string file_;
  const std::byte* base_;
  std::vector<Step> steps_;
  uint64_t structure_left_, decoded_left_;
};

}  // namespace phiquant
