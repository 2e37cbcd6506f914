// Coding of columns by the definitions of block_coder.h, a weight at a time.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/quantization.h"
#include "kernels/shapes.h"

namespace sage::reference {
namespace {

struct Coded {
  std::array<uint8_t, ElementCode::kMostPlanes> symbol{};
  float value = 0;
};

float sign(uint8_t symbol) { return symbol == 0 ? 1.0f : symbol == 1 ? -1.0f : 0.0f; }

Coded code_signs(const ElementCode& code, const float* p, float w) {
  const float *scale = p, *center = p + code.planes, *mean = p + 2 * code.planes;
  Coded out;
  float before = 0;
  for (int o = 0; o < code.planes; ++o) {
    const float d = (w - before) - center[o];
    const uint8_t s = d < 0 ? 1 : code.keep_zero && d == 0 ? 2 : 0;
    out.symbol[static_cast<size_t>(o)] = s;
    before += center[o] + scale[o] * sign(s);
    if (code.plain)
      out.value = s == 1 ? -scale[0] : scale[0];
    else if (o == 0)
      out.value = mean[0] + scale[0] * sign(s);
    else
      out.value += code.merged ? scale[o] * sign(s) : mean[o] + scale[o] * sign(s);
  }
  return out;
}

Coded code_grid(const ElementCode& code, const float* p, float w) {
  constexpr float kFar = 0x1p21f;  // beyond every code
  const float steps = std::nearbyint(std::clamp(w / p[0], -kFar, kFar)), q = std::clamp(steps + p[1], 0.0f, code.largest);
  return {{static_cast<uint8_t>(q)}, p[0] * (q - p[1])};
}

Coded code_trits(const float* p, float w) {
  if (w > p[0] / 2) return {{2}, p[0]};
  if (w < p[1] / 2) return {{0}, p[1]};
  return {{1}, 0.0f};
}

Coded code_steps(const ElementCode& code, const float* p, float w) {
  int q = 0;
  if (p[0] > 0) {
    const double y =
        std::clamp((std::abs(static_cast<double>(w)) - code.offset) / p[0], 0.0, static_cast<double>(code.largest));
    q = static_cast<int>(code.midrise ? y : y + 0.5);
  }
  const auto k = static_cast<float>(q);
  const float v = code.midrise ? p[0] * (k + 0.5f) : code.shifted ? code.offset + p[0] * k : p[0] * k;
  const bool negative = w < 0;
  return {{static_cast<uint8_t>(negative ? q + static_cast<int>(code.largest) + 1 : q)}, negative ? -v : v};
}

Coded coded(const ElementCode& code, int64_t i, int64_t j, float w) {
  uint32_t unit = 0;
  code.units->fill(i, j, j + 1, &unit);
  const float* p = code.parameters.data() + static_cast<size_t>(unit) * static_cast<size_t>(code.parameters_per_unit());
  switch (code.kind) {
    case ElementCode::Kind::kSigns: return code_signs(code, p, w);
    case ElementCode::Kind::kPositive: return w > 0 ? Coded{{0}, p[0]} : Coded{{1}, 0.0f};
    case ElementCode::Kind::kGrid: return code_grid(code, p, w);
    case ElementCode::Kind::kTrits: return code_trits(p, w);
    case ElementCode::Kind::kSteps: return code_steps(code, p, w);
  }
  return {};
}

Coded coded(const BlockCoding& block, int64_t i, int64_t c, float w) {
  for (const CodedColumn& slot : block.columns[static_cast<size_t>(c)]) {
    if (slot.code < 0) continue;
    const ElementCode& code = block.codes[static_cast<size_t>(slot.code)];
    if (code.own.owns(i, slot.column)) return coded(code, i, slot.column, w);
  }
  return {};
}

}  // namespace

void code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols, View<float> error) {
  const int64_t planes = shapes::code_block(block, w, decoded, symbols, error), k = w.cols;
  const Correction correction = block.correction;
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t i = 0; i < w.rows; ++i) {
    std::copy_n(w.row(i), k, row.begin());
    for (int64_t c = 0; c < k; ++c) {
      const Coded what = coded(block, i, c, row[static_cast<size_t>(c)]);
      decoded(i, c) = what.value;
      for (int64_t p = 0; p < planes; ++p)
        symbols(i, p * k + c) = what.symbol[static_cast<size_t>(p)];
      if (correction == Correction::kNone) continue;
      const float d = row[static_cast<size_t>(c)] - what.value;
      error(i, c) = correction == Correction::kBlock ? d : d / block.u(c, c);
      if (correction != Correction::kColumnwise) continue;
      for (int64_t j = c + 1; j < k; ++j)
        row[static_cast<size_t>(j)] -= block.u(c, j) * error(i, c);
    }
    if (correction != Correction::kBlock) continue;
    for (int64_t c = 0; c < k; ++c) {  // forward substitution, the products rounded before they are subtracted
      error(i, c) /= block.u(c, c);
      for (int64_t j = c + 1; j < k; ++j)
        error(i, j) -= block.u(c, j) * error(i, c);
    }
  }
}

}  // namespace sage::reference
