// Coding of columns as an operation of a backend: codes, decoded values and errors of a block of columns in one go, with the
// corrections inside the block that a compensator asks for.
//
// On the host, quantizers code weights themselves (FittedQuantizer::encode). A device needs to know how as data: an ElementCode
// says what a fitted quantizer makes of one weight, given the parameters of its unit. With w a weight and p its unit's
// parameters:
//
//   kSigns      s_o = symbol of (w - S) - center_o,  S += mean of order o + scale_o sgn(s_o),  o = 1 .. planes
//               p = planes scales, planes centers, planes means. In the sum that signs are taken of, the mean is center_o; what
//               is S, or with merged: mean_1 + sum scale_o sgn_o. plain: no means at all, what = +-scale_1 (so that -0 stays
//               -0)
//   kPositive   0 and what = p_1 where w > 0, else 1 and 0
//   kGrid       q = clamp(round(w / p_1) + p_2, 0, largest),  what = p_1 (q - p_2); ties to even
//   kTrits      2 where w > p_1 / 2, 0 where w < p_2 / 2, else 1; what = p_1, p_2, 0
//   kSteps      q = clamp((|w| - offset) / p_1, 0, largest), to the nearest or, with midrise, down, in double; 0 where p_1 <= 0
//               what = sgn(w) (p_1 (q + 1/2) with midrise, p_1 q, or offset + p_1 q with shifted); symbol q, + largest + 1 if w
//               < 0
// sgn: symbol 0 is +1, 1 is -1, 2 is 0; 2 only with keep_zero. Everything in float, each operation rounded, unless said
// otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/tensor/mask.h"
#include "core/tensor/units.h"
#include "core/tensor/view.h"

namespace sage {

struct ElementCode {
  enum class Kind { kSigns, kPositive, kGrid, kTrits, kSteps };
  static constexpr int kMostPlanes = 4;

  Kind kind = Kind::kSigns;
  int planes = 1;          // symbols per weight
  bool keep_zero = false;  // kSigns
  bool merged = false;
  bool plain = false;
  bool midrise = false;  // kSteps
  bool shifted = false;
  float largest = 0;                  // kGrid, kSteps: the greatest code
  float offset = 0;                   // kSteps
  Selection own;                      // of the fit's columns: which weights it codes
  const ScaleUnits* units = nullptr;  // of the fit's columns
  std::span<const float> parameters;  // unit by unit

  int parameters_per_unit() const {
    switch (kind) {
      case Kind::kSigns: return 3 * planes;
      case Kind::kGrid:
      case Kind::kTrits: return 2;
      case Kind::kPositive:
      case Kind::kSteps: return 1;
    }
    return 0;
  }
};

// Where a column of a block is coded, in either slot: by which code, and which of its fit's columns it is. code -1: by none.
struct CodedColumn {
  int code = -1;
  int64_t column = 0;
};

// What the error E of a block of k columns is. D = W - decoded, U the block's part of the upper factor (compensator.h).
enum class Correction {
  kNone,        // no error is asked for
  kOwn,         // E_:i = D_:i / U_ii
  kBlock,       // E U = D
  kColumnwise,  // E_:i = D_:i / U_ii, and W_:j -= U_ij E_:i for j > i before column j is coded; the product is rounded first
};

struct BlockCoding {
  std::span<const ElementCode> codes;
  std::span<const std::array<CodedColumn, 2>> columns;  // of the block, in the order of work; at most kMostColumns
  Correction correction = Correction::kNone;
  WeightView u;  // k x k; empty with kNone
};

class BlockCoder {
 public:
  static constexpr int64_t kMostColumns = 1024;
  virtual ~BlockCoder() = default;
  // w[n x k]: the block's weights as they now stand; not changed. decoded[n x k]: the values a decoder will see. symbols[n x P
  // k]: plane p of the block in columns [p k, (p + 1) k), P the most planes of any code; 0 where a code has fewer, or none owns
  // the weight, whose decoded value is then 0. error[n x k]; empty with kNone.
  virtual void code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                          View<float> error) const = 0;
};

}  // namespace sage
