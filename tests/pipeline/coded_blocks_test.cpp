// Columns coded by a backend in its own memory: the same planes, to the last bit, as when quantizers code on the host.
#include <gtest/gtest.h>

#include "tests/pipeline/calibrated.h"
#include "tests/pipeline/combinations.h"
#include "tests/support/device_double.h"

namespace sage {
namespace {

using test::Combination;
using test::DeviceDouble;
using test::factory;
using test::Layer;

MatrixResult quantize(const Layer& layer, const PipelineFactory& f, const Backend& backend) {
  return quantize_matrix(f, {.weights = layer.w.view(), .id = {0, test::kMatrixName}, .seed = 1, .hessian = layer.hessian.get()}, backend);
}

class CodedOnTheDevice : public ::testing::TestWithParam<Combination> {};
INSTANTIATE_TEST_SUITE_P(Engine, CodedOnTheDevice, ::testing::ValuesIn(test::combinations()),
                         [](const auto& info) { return std::string(info.param.parts.name) + "_" + info.param.compensator; });

TEST_P(CodedOnTheDevice, StoresWhatTheHostStores) {
  static const std::vector<Layer>& layers = *[] {
    auto* all = new std::vector<Layer>;
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{7, 1}, {24, 70}})
      all->emplace_back(rows, cols, static_cast<uint64_t>(rows), std::vector<int64_t>{2, 20, 21});
    return all;
  }();
  // Some of the scopes: blocks as wide as the matrix, several segments to a block, salient segments of their own, act-order.
  const std::vector<std::string> scopes = GetParam().scopes();
  for (size_t s = 1; s < (GetParam().compensator == "none" ? 2 : scopes.size()); s += 4) {
    const std::string& scope = scopes[s];
    const PipelineFactory f = factory(test::pipeline(GetParam().parts.yaml, GetParam().compensator, scope));
    for (const Layer& layer : layers) {
      SCOPED_TRACE(fmt::format("{} x {}, {}", layer.w.rows(), layer.w.cols(), scope));
      const DeviceDouble device(DeviceDouble::kRoomy), bare(DeviceDouble::kRoomy, DeviceDouble::Coding::kByHost);
      const MatrixResult there = quantize(layer, f, device), here = quantize(layer, f, bare);
      ASSERT_TRUE(test::same_planes(there.packed, here.packed));
      EXPECT_TRUE(test::same_bits(there.dequantized, here.dequantized));
      EXPECT_EQ(device.broken_promises(), 0);
      EXPECT_EQ(device.held_now(), 0);
      EXPECT_EQ(device.device_memory().in_use, 0u);
    }
  }
}

// What is sent for one product is the factor's part: neither errors nor weights. Afterwards the loss is measured, once for the weights
// and once for the errors, which go there once each (they are held), and the Gram's one panel with each; the product comes back.
TEST(CodedOnTheDevice, WeightsAndErrorsStayThere) {
  const Layer layer(48, 96, 5);
  const PipelineFactory f = factory("{quantizer: {type: uniform, bits: 3, group_size: 32}, compensator: gptq, segment_columns: 0, block_columns: 32}");
  const DeviceDouble device;
  quantize(layer, f, device);
  EXPECT_EQ(device.host_bytes("subtract_product"), ((64 + 32) * 32 + 2 * (96 * 96 + 48 * 96)) * sizeof(float));
  // The factor's blocks, decoded values and symbols.
  EXPECT_EQ(device.host_bytes("code_block"), 3 * ((32 * 32 + 48 * 32) * sizeof(float) + 48 * 32));
}

// A quantizer that has no code as data is coded on the host, in the middle of a matrix whose weights are on the device.
TEST(CodedOnTheDevice, QuantizersWithoutCodesAreCodedOnTheHost) {
  const Layer layer(24, 70, 6);
  const PipelineFactory f = factory("{quantizer: {type: binary, scale: rank1}, compensator: gptq, segment_columns: 16, block_columns: 16}");
  const DeviceDouble device, bare(DeviceDouble::kRoomy, DeviceDouble::Coding::kByHost);
  EXPECT_TRUE(test::same_planes(quantize(layer, f, device).packed, quantize(layer, f, bare).packed));
  EXPECT_EQ(device.host_bytes("code_block"), 0u);
}

}  // namespace
}  // namespace sage
