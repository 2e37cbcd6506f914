// The output head. Logits exist only as tiles of slice_bytes in all (64 MiB on a device), of at most 2048 positions and, for
// as many, 8192 tokens; a divergence has two tiles of half of that. Slices of the vocabulary are the outer loop: a head in host
// memory is sent over once, a slice at a time, and kept no longer.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

struct Tile {
  int64_t positions, tokens;
};
// Four tokens to a position: the product reads a row of the head for every tile.positions positions and a hidden state for
// every tile.tokens tokens, and a position's states are merged once per tile.
Tile tile_of(int64_t positions, int64_t vocabulary, size_t bytes) {
  const auto floats = static_cast<int64_t>(bytes / sizeof(float));
  constexpr int64_t kMultiple = 64;  // of tokens: whole tiles of the product's kernels
  Tile tile;
  tile.positions = std::clamp<int64_t>(positions, 1, static_cast<int64_t>(std::sqrt(static_cast<double>(floats))) / 2);
  tile.tokens = std::max(kMultiple, floats / tile.positions / kMultiple * kMultiple);
  tile.tokens = std::min(vocabulary, tile.tokens);
  return tile;
}

// A span that operations may give in either memory, for the host to read.
std::vector<int32_t> on_host(const Backend& backend, std::span<const int32_t> v) {
  std::vector<int32_t> out(v.size());
  const auto bytes = static_cast<int64_t>(v.size_bytes());
  backend.copy({v.data(), bytes}, {out.data(), bytes}, bytes, 1);
  return out;
}

}  // namespace

// 2 T vocabulary d operations; a head on the device is read once per 2048 positions.
void DeviceBackend::head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                             std::span<int32_t> top1) const {
  shapes::head(hidden, head, static_cast<int64_t>(nll.size()), "head_nll");
  const std::vector<int32_t> targets = on_host(*this, target);
  shapes::targets(targets, hidden.rows, head.rows);
  shapes::require(top1.empty() || top1.size() == nll.size(), "head_nll", "an empty top1 or one per position");
  // Positions that nobody asks about are not computed.
  std::vector<int32_t> wanted, slot(targets.size(), -1), wanted_target;
  for (size_t t = 0; t < targets.size(); ++t)
    if (!top1.empty() || targets[t] >= 0) {
      slot[t] = static_cast<int32_t>(wanted.size());
      wanted.push_back(static_cast<int32_t>(t));
      wanted_target.push_back(targets[t]);
    }
  const auto positions = static_cast<int64_t>(wanted.size());

  Call call(*this, "head_nll");
  const int32_t* id = call.in(std::span<const int32_t>(wanted_target));
  const int32_t* place = call.in(std::span<const int32_t>(slot));
  double* out = call.out(nll);
  int32_t* top = top1.empty() ? nullptr : call.out(top1);
  WeightView rows = call.in(hidden);
  if (positions < hidden.rows) {
    auto* gathered = call.scratch<float>(positions * hidden.cols);
    call.launched(kernels_.head.gather_rows(rows.data, rows.ld, call.in(std::span<const int32_t>(wanted)), positions, rows.cols,
                                            gathered, call.stream()));
    rows = {gathered, positions, hidden.cols};
  }
  auto* state = call.scratch<SoftmaxState>(positions);
  auto* logit = call.scratch<float>(positions);
  const Tile tile = tile_of(positions, head.rows, sizes_.slice_bytes);
  auto* logits = call.scratch<float>(tile.positions * tile.tokens);
  for (int64_t v0 = 0; v0 < head.rows && positions > 0; v0 += tile.tokens) {
    const int64_t v1 = std::min(head.rows, v0 + tile.tokens);
    const Call::Scope slice(call);
    const DeviceRows w = operand(call, head.row_range(v0, v1));
    for (int64_t p0 = 0; p0 < positions; p0 += tile.positions) {
      const int64_t p1 = std::min(positions, p0 + tile.positions);
      const Call::Scope part(call);
      multiply(call, operand(call, rows.row_range(p0, p1)), w, {logits, p1 - p0, v1 - v0});
      call.launched(kernels_.head.scan(logits, p1 - p0, v1 - v0, v0, id + p0, state + p0, logit + p0, call.stream()));
    }
  }
  call.launched(kernels_.head.finish(state, logit, id, place, hidden.rows, out, top, call.stream()));
  call.finish();
}

void DeviceBackend::head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head,
                                    std::span<double> kl, std::span<uint8_t> agree, std::span<const int32_t> target,
                                    std::span<double> nll) const {
  shapes::divergence(hidden_ref, head_ref, hidden, head, kl, agree, on_host(*this, target), nll);
  const int64_t positions = hidden.rows;

  Call call(*this, "head_divergence");
  const int32_t* id = target.empty() ? nullptr : call.in(target);
  double* out = call.out(kl);
  uint8_t* same = call.out(agree);
  double* own_nll = target.empty() ? nullptr : call.out(nll);
  const WeightView rows_ref = call.in(hidden_ref), rows = call.in(hidden);
  auto *state_ref = call.scratch<SoftmaxState>(positions), *state = call.scratch<SoftmaxState>(positions);
  auto* logit = call.scratch<float>(positions);
  const Tile tile = tile_of(positions, head.rows, sizes_.slice_bytes / 2);
  auto *logits_ref = call.scratch<float>(tile.positions * tile.tokens),
       *logits = call.scratch<float>(tile.positions * tile.tokens);
  for (int64_t v0 = 0; v0 < head.rows && positions > 0; v0 += tile.tokens) {
    const int64_t v1 = std::min(head.rows, v0 + tile.tokens);
    const Call::Scope slice(call);
    const DeviceRows w_ref = operand(call, head_ref.row_range(v0, v1)), w = operand(call, head.row_range(v0, v1));
    for (int64_t p0 = 0; p0 < positions; p0 += tile.positions) {
      const int64_t p1 = std::min(positions, p0 + tile.positions);
      const Call::Scope part(call);
      multiply(call, operand(call, rows_ref.row_range(p0, p1)), w_ref, {logits_ref, p1 - p0, v1 - v0});
      multiply(call, operand(call, rows.row_range(p0, p1)), w, {logits, p1 - p0, v1 - v0});
      call.launched(kernels_.head.scan_pair(logits_ref, logits, p1 - p0, v1 - v0, v0, id == nullptr ? nullptr : id + p0,
                                            state_ref + p0, state + p0, logit + p0, call.stream()));
    }
  }
  call.launched(kernels_.head.finish_pair(state_ref, state, positions, out, same, call.stream()));
  if (own_nll != nullptr)
    call.launched(kernels_.head.finish(state, logit, id, nullptr, positions, own_nll, nullptr, call.stream()));
  call.finish();
}

}  // namespace sage::cuda
