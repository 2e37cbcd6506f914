// Coding a block of 128 columns, of backends that code blocks themselves: a 3-bit grid for each row, each column corrected for
// the errors of those before it (GPTQ), and signs scaled by four groups of single weights, not corrected. Operations of the
// corrected one: a product and a difference for every pair of columns of a row.
#include <fmt/format.h>

#include <array>
#include <vector>

#include "core/backend/block_coder.h"
#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

void add(const char* name, bool corrected) {
  const int64_t rows = sized(4096, 24), cols = sized(128, 40);
  add_benchmark(fmt::format("coding/{}/{}x{}", name, rows, cols), 0.4, [=](benchmark::State& state) {
    const BackendMatrix w = placed(weights(rows, cols, 21)), error(backend(), rows, cols), decoded(backend(), rows, cols);
    const SaliencyMask mask = SaliencyMask::none(rows, cols);
    GroupMap groups = GroupMap::single(rows, cols);
    std::vector<float> parameters;
    ElementCode code;
    if (corrected) {
      code.kind = ElementCode::Kind::kGrid;
      code.largest = 7;
      for (int64_t i = 0; i < rows; ++i)
        parameters.insert(parameters.end(), {0.01f, 4.0f});
    } else {
      groups.shape = LabelShape::kElement;
      groups.groups = 4;
      for (int64_t k = 0; k < rows * cols; ++k)
        groups.element.push_back(static_cast<uint8_t>(k * 7 % 4));
      code.plain = true;
      for (int64_t g = 0; g < 4; ++g)
        parameters.insert(parameters.end(), {0.01f * static_cast<float>(g + 1), 0.0f, 0.0f});
    }
    const ScaleUnits units("benchmark", groups, corrected, true);
    code.own = {&mask, false};
    code.units = &units;
    code.parameters = parameters;
    std::vector<std::array<CodedColumn, 2>> columns(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c)
      columns[static_cast<size_t>(c)][0] = {0, c};
    Matrix factor = Matrix::zeros(cols, cols);
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t j = i; j < cols; ++j)
        factor(i, j) = i == j ? 1.0f : 0.01f;
    const Held u(std::move(factor));
    const BackendArray<uint8_t> symbols(backend(), rows, cols);
    const BlockCoding block{
        {&code, 1}, columns, corrected ? Correction::kColumnwise : Correction::kNone, corrected ? u.view() : WeightView()};
    const auto weights_coded = static_cast<double>(rows * cols);
    measure(state, corrected ? Unit::kOperations : Unit::kWeights,
            corrected ? weights_coded * static_cast<double>(cols - 1) : weights_coded, {}, [&] {
              backend().block_coder()->code_block(block, w.view(), decoded.view(), symbols.view(),
                                                  corrected ? error.view() : View<float>());
            });
  });
}

}  // namespace

void register_coding() {
  if (backend().block_coder() == nullptr) return;
  add("columnwise", true);
  add("signs", false);
}

}  // namespace sage::bench
