#include "core/pipeline/coded_blocks.h"

#include <algorithm>

namespace sage {

const ElementCode* CodedBlocks::code_of(FittedQuantizer& fit) {
  const auto [it, fresh] = known_.try_emplace(&fit);
  Known& known = it->second;
  if (fresh) {
    known.code = fit.element_code();
    if (known.code) known.parameters = hold(backend_, known.code->parameters);
  }
  return known.code ? &*known.code : nullptr;
}

bool CodedBlocks::code(std::span<const std::array<CodedPlace, 2>> columns, Correction correction, WeightView u,
                       WeightView weights, View<float> decoded, View<float> error) {
  const auto k = static_cast<int64_t>(columns.size());
  if (k > BlockCoder::kMostColumns) return false;
  std::vector<ElementCode> codes;
  std::map<FittedQuantizer*, int> numbers;
  std::vector<std::array<CodedColumn, 2>> coded(columns.size());
  int64_t planes = 1;
  for (size_t c = 0; c < columns.size(); ++c)
    for (size_t slot = 0; slot < 2; ++slot) {
      const CodedPlace& place = columns[c][slot];
      if (place.fit == nullptr) continue;
      const auto [it, fresh] = numbers.try_emplace(place.fit, static_cast<int>(codes.size()));
      if (fresh) {
        const ElementCode* code = code_of(*place.fit);
        if (code == nullptr) return false;
        codes.push_back(*code);
        planes = std::max<int64_t>(planes, code->planes);
      }
      coded[c][slot] = {it->second, place.column};
    }
  symbols_.resize(static_cast<size_t>(weights.rows * planes * k));
  const View<uint8_t> symbols(symbols_.data(), weights.rows, planes * k);
  coder_.code_block({codes, coded, correction, u}, weights, decoded, symbols, error);

  // Columns of one fit that stand side by side are handed over together.
  for (size_t slot = 0; slot < 2; ++slot)
    for (int64_t first = 0; first < k;) {
      const auto at = [&](int64_t c) -> const CodedPlace& { return columns[static_cast<size_t>(c)][slot]; };
      int64_t last = first + 1;
      while (last < k && at(last).fit == at(first).fit && at(last).column == at(first).column + (last - first))
        ++last;
      if (at(first).fit != nullptr) {
        std::vector<View<const uint8_t>> parts;
        for (int64_t p = 0; p < planes; ++p)
          parts.emplace_back(symbols.columns(p * k + first, p * k + last));
        at(first).fit->place_symbols(parts, at(first).column);
      }
      first = last;
    }
  return true;
}

}  // namespace sage
