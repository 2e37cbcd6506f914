// Blocks of columns coded by a backend (core/backend/block_coder.h) in place of the quantizers.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "core/backend/block_coder.h"
#include "core/backend/memory.h"
#include "core/strategy/quantizer.h"

namespace sage {

// Where each column is coded: the fit of its segment and its place there.
struct CodedPlace {
  FittedQuantizer* fit = nullptr;  // null: no weight of the column is coded in this slot
  int64_t column = 0;
};

class CodedBlocks {
 public:
  CodedBlocks(const Backend& backend, const BlockCoder& coder) : backend_(backend), coder_(coder) {}

  // Codes a block: one place per column and slot. decoded is host memory; error may be the backend's, and is empty with kNone.
  // False, and nothing was done, where the block is too wide or one of its quantizers has no code as data.
  bool code(std::span<const std::array<CodedPlace, 2>> columns, Correction correction, WeightView u, WeightView weights,
            View<float> decoded, View<float> error);

 private:
  struct Known {
    std::optional<ElementCode> code;
    HeldMemory parameters;
  };
  const ElementCode* code_of(FittedQuantizer& fit);

  const Backend& backend_;
  const BlockCoder& coder_;
  std::map<FittedQuantizer*, Known> known_;  // whose parameters stay on the device while columns are coded
  std::vector<uint8_t> symbols_;
};

}  // namespace sage
