// The output head in slices: logits exist only as tiles of 256 positions x 1024 tokens (1 MiB per thread).
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

constexpr int64_t kPositions = 256;
constexpr int64_t kTokens = 1024;

// Combines the scans of consecutive slices of the vocabulary; earlier slices win ties, so that the first largest logit is
// found.
struct Combined {
  double largest = -HUGE_VAL;
  double sum = 0;
  int32_t top = 0;
  double cross = 0;
  void add(const LogitScan& part, double part_cross, int64_t first_token) {
    const double m = part.largest;
    if (m > largest) {
      const double shrink = std::exp(largest - m);
      sum = sum * shrink + part.sum;
      cross = cross * shrink + part_cross;
      largest = m;
      top = static_cast<int32_t>(first_token + part.top);
    } else {
      const double shrink = std::isinf(largest) ? 1.0 : std::exp(m - largest);
      sum += part.sum * shrink;
      cross += part_cross * shrink;
    }
  }
  double log_sum() const { return largest + std::log(sum); }
};

struct Slices {
  Slices(int64_t positions, int64_t vocabulary)
      : position_parts((positions + kPositions - 1) / kPositions), token_parts((vocabulary + kTokens - 1) / kTokens) {}
  int64_t position_parts, token_parts;
};

}  // namespace

// 2 T vocabulary d operations; the head is read from memory once per 256 positions.
void CpuBackend::head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                          std::span<int32_t> top1) const {
  shapes::head(hidden, head, static_cast<int64_t>(nll.size()), "head_nll");
  shapes::targets(target, hidden.rows, head.rows);
  shapes::require(top1.empty() || top1.size() == nll.size(), "head_nll", "an empty top1 or one per position");
  // Positions that nobody asks about are not computed.
  std::vector<int64_t> wanted;
  for (int64_t t = 0; t < hidden.rows; ++t)
    if (!top1.empty() || target[static_cast<size_t>(t)] >= 0) wanted.push_back(t);
  const auto positions = static_cast<int64_t>(wanted.size());
  Matrix gathered;
  WeightView rows = hidden;
  if (positions < hidden.rows) {
    gathered = Matrix(positions, hidden.cols);
    for (int64_t p = 0; p < positions; ++p)
      std::copy(hidden.row(wanted[static_cast<size_t>(p)]), hidden.row(wanted[static_cast<size_t>(p)]) + hidden.cols,
                gathered.row(p));
    rows = gathered.view();
  }

  const Slices slices(positions, head.rows);
  std::vector<LogitScan> parts(static_cast<size_t>(positions * slices.token_parts));
  std::vector<float> wanted_logit(static_cast<size_t>(positions), 0.0f);
  Matrix memory(thread_limit(slices.position_parts * slices.token_parts), kPositions * kTokens);
  for_tasks(slices.position_parts * slices.token_parts, [&](int64_t t, int thread) {
    const int64_t p0 = t / slices.token_parts * kPositions, p1 = std::min(positions, p0 + kPositions);
    const int64_t part = t % slices.token_parts, v0 = part * kTokens, v1 = std::min(head.rows, v0 + kTokens);
    const View<float> logits(memory.row(thread), p1 - p0, v1 - v0);
    product_tile(rows.row_range(p0, p1), head.row_range(v0, v1), logits);
    for (int64_t p = p0; p < p1; ++p) {
      parts[static_cast<size_t>(p * slices.token_parts + part)] = k_.scan(logits.row(p - p0), v1 - v0);
      const int64_t id = target[static_cast<size_t>(wanted[static_cast<size_t>(p)])];
      if (id >= v0 && id < v1) wanted_logit[static_cast<size_t>(p)] = logits(p - p0, id - v0);
    }
  });

  std::fill(nll.begin(), nll.end(), 0.0);
  for (int64_t p = 0; p < positions; ++p) {
    Combined c;
    for (int64_t part = 0; part < slices.token_parts; ++part)
      c.add(parts[static_cast<size_t>(p * slices.token_parts + part)], 0, part * kTokens);
    const auto t = static_cast<size_t>(wanted[static_cast<size_t>(p)]);
    if (target[t] >= 0) nll[t] = c.log_sum() - static_cast<double>(wanted_logit[static_cast<size_t>(p)]);
    if (!top1.empty()) top1[t] = c.top;
  }
}

// KL = sum p_ref (r - l) - log sum exp r + log sum exp l, with r and l the two logits of a token.
void CpuBackend::head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head,
                                 std::span<double> kl, std::span<uint8_t> agree, std::span<const int32_t> target,
                                 std::span<double> nll) const {
  shapes::divergence(hidden_ref, head_ref, hidden, head, kl, agree, target, nll);
  std::vector<float> wanted_logit(target.size(), 0.0f);
  const Slices slices(hidden.rows, head.rows);
  std::vector<PairScan> parts(static_cast<size_t>(hidden.rows * slices.token_parts));
  Matrix memory(thread_limit(slices.position_parts * slices.token_parts), 2 * kPositions * kTokens);
  for_tasks(slices.position_parts * slices.token_parts, [&](int64_t t, int thread) {
    const int64_t p0 = t / slices.token_parts * kPositions, p1 = std::min(hidden.rows, p0 + kPositions);
    const int64_t part = t % slices.token_parts, v0 = part * kTokens, v1 = std::min(head.rows, v0 + kTokens);
    const View<float> ref(memory.row(thread), p1 - p0, v1 - v0),
        own(memory.row(thread) + kPositions * kTokens, p1 - p0, v1 - v0);
    product_tile(hidden_ref.row_range(p0, p1), head_ref.row_range(v0, v1), ref);
    product_tile(hidden.row_range(p0, p1), head.row_range(v0, v1), own);
    for (int64_t p = p0; p < p1; ++p) {
      parts[static_cast<size_t>(p * slices.token_parts + part)] = k_.scan_pair(ref.row(p - p0), own.row(p - p0), v1 - v0);
      if (target.empty()) continue;
      const int64_t id = target[static_cast<size_t>(p)];
      if (id >= v0 && id < v1) wanted_logit[static_cast<size_t>(p)] = own(p - p0, id - v0);
    }
  });
  for (int64_t p = 0; p < hidden.rows; ++p) {
    Combined ref, own;
    for (int64_t part = 0; part < slices.token_parts; ++part) {
      const PairScan& scan = parts[static_cast<size_t>(p * slices.token_parts + part)];
      ref.add(scan.ref, scan.cross, part * kTokens);
      own.add(scan.own, 0, part * kTokens);
    }
    kl[static_cast<size_t>(p)] = ref.cross / ref.sum - ref.log_sum() + own.log_sum();
    agree[static_cast<size_t>(p)] = ref.top == own.top ? 1 : 0;
    if (target.empty()) continue;
    const auto t = static_cast<size_t>(p);
    nll[t] = target[t] < 0 ? 0.0 : own.log_sum() - static_cast<double>(wanted_logit[t]);
  }
}

}  // namespace sage::cpu
