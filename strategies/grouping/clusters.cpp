#include "strategies/grouping/clusters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/util/random.h"

namespace sage::graph {
namespace {

constexpr int64_t kCoarse = 2048;
constexpr int kSteps = 300;
constexpr double kTolerance = 1e-4;  // of the mean variance, as in scikit-learn

Embedding strided(const Embedding& e, int64_t count) {
  Embedding out{count, e.dims, std::vector<float>(static_cast<size_t>(count * e.dims))};
  for (int d = 0; d < e.dims; ++d)
    for (int64_t i = 0; i < count; ++i)
      out.x[d * count + i] = e.x[d * e.points + i * e.points / count];
  return out;
}

struct Means {
  int k = 0, dims = 0;
  std::vector<float> c;  // c[g * dims + d]
};

struct Fit {
  Means means;
  std::vector<uint8_t> label;
  double inertia = 0;
};

double mean_variance(const Embedding& e) {
  double total = 0;
  for (int d = 0; d < e.dims; ++d) {
    double s = 0, q = 0;
    for (int64_t i = 0; i < e.points; ++i) {
      const double v = e.x[d * e.points + i];
      s += v;
      q += v * v;
    }
    total += std::max(0.0, q - s * s / static_cast<double>(e.points)) / static_cast<double>(e.points);
  }
  return total / e.dims;
}

Means seeded(const Embedding& e, int k, Rng& rng) {
  Means m{k, e.dims, std::vector<float>(static_cast<size_t>(k) * e.dims)};
  std::vector<double> nearest(static_cast<size_t>(e.points), std::numeric_limits<double>::infinity());
  int64_t pick = static_cast<int64_t>(rng.below(static_cast<uint64_t>(e.points)));
  for (int g = 0; g < k; ++g) {
    for (int d = 0; d < e.dims; ++d)
      m.c[g * e.dims + d] = e.x[d * e.points + pick];
    double total = 0;
    for (int64_t i = 0; i < e.points; ++i) {
      double distance = 0;
      for (int d = 0; d < e.dims; ++d) {
        const double t = e.x[d * e.points + i] - m.c[g * e.dims + d];
        distance += t * t;
      }
      nearest[i] = std::min(nearest[i], distance);
      total += nearest[i];
    }
    double target = rng.uniform() * total;
    pick = e.points - 1;
    for (int64_t i = 0; i < e.points; ++i) {
      target -= nearest[i];
      if (target < 0) {
        pick = i;
        break;
      }
    }
  }
  return m;
}

// Labels by the nearest mean: the first of equals. |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), so the largest x.c - |c|^2 / 2 is
// nearest.
void label_points(const Embedding& e, const Means& m, std::vector<uint8_t>& label) {
  constexpr int64_t kBlock = 512;
  label.resize(static_cast<size_t>(e.points));
  std::array<float, kBlock> best, score;
  std::array<int32_t, kBlock> at;
  for (int64_t first = 0; first < e.points; first += kBlock) {
    const int64_t n = std::min(kBlock, e.points - first);
    best.fill(-std::numeric_limits<float>::infinity());
    at.fill(0);
    for (int g = 0; g < m.k; ++g) {
      const float* c = m.c.data() + static_cast<size_t>(g) * m.dims;
      float half = 0;
      for (int d = 0; d < m.dims; ++d)
        half += c[d] * c[d] / 2;
      score.fill(-half);
      for (int d = 0; d < m.dims; ++d) {
        const float* x = e.x.data() + d * e.points + first;
        for (int64_t i = 0; i < n; ++i)
          score[static_cast<size_t>(i)] += x[i] * c[d];
      }
      for (size_t i = 0; i < kBlock; ++i) {
        const bool nearer = score[i] > best[i];
        best[i] = nearer ? score[i] : best[i];
        at[i] = nearer ? g : at[i];
      }
    }
    for (int64_t i = 0; i < n; ++i)
      label[static_cast<size_t>(first + i)] = static_cast<uint8_t>(at[static_cast<size_t>(i)]);
  }
}

// The means of the labelled points; an empty cluster keeps its mean. Returns the squared movement.
double move_means(const Embedding& e, const std::vector<uint8_t>& label, Means& m) {
  std::vector<double> sum(static_cast<size_t>(m.k) * m.dims, 0.0);
  std::vector<int64_t> count(static_cast<size_t>(m.k), 0);
  for (const uint8_t g : label)
    ++count[g];
  for (int d = 0; d < m.dims; ++d) {
    const float* x = e.x.data() + d * e.points;
    // Four points at a time go to separate sums: neighbours share a cluster, and one sum would wait for itself.
    std::array<std::array<double, 4>, 256> part;
    for (int g = 0; g < m.k; ++g)
      part[static_cast<size_t>(g)].fill(0.0);
    for (int64_t i = 0; i < e.points; ++i)
      part[label[static_cast<size_t>(i)]][static_cast<size_t>(i & 3)] += x[i];
    for (int g = 0; g < m.k; ++g) {
      const auto& p = part[static_cast<size_t>(g)];
      sum[static_cast<size_t>(g) * m.dims + d] = (p[0] + p[1]) + (p[2] + p[3]);
    }
  }
  double moved = 0;
  for (int g = 0; g < m.k; ++g)
    for (int d = 0; d < m.dims && count[g] > 0; ++d) {
      const size_t at = static_cast<size_t>(g) * m.dims + d;
      const float mean = static_cast<float>(sum[at] / static_cast<double>(count[g]));
      moved += (mean - m.c[at]) * (mean - m.c[at]);
      m.c[at] = mean;
    }
  return moved;
}

double inertia(const Embedding& e, const Means& m, const std::vector<uint8_t>& label) {
  double total = 0;
  for (int64_t i = 0; i < e.points; ++i)
    for (int d = 0; d < e.dims; ++d) {
      const double t = e.x[d * e.points + i] - m.c[label[i] * m.dims + d];
      total += t * t;
    }
  return total;
}

Fit lloyd(const Embedding& e, Means means, double tolerance) {
  Fit f{std::move(means), {}, 0};
  for (int step = 0; step < kSteps; ++step) {
    label_points(e, f.means, f.label);
    if (move_means(e, f.label, f.means) <= tolerance) break;
  }
  label_points(e, f.means, f.label);
  f.inertia = inertia(e, f.means, f.label);
  return f;
}

}  // namespace

std::vector<uint8_t> kmeans_labels(const Embedding& e, int k, int starts, uint64_t key) {
  const double tolerance = kTolerance * mean_variance(e);
  const bool coarse = e.points > 2 * kCoarse;
  const Embedding first = coarse ? strided(e, kCoarse) : Embedding{};
  const Embedding& seed_points = coarse ? first : e;
  Fit best;
  for (int s = 0; s < starts; ++s) {
    Rng rng(key, static_cast<uint64_t>(s) * 257 + static_cast<uint64_t>(k));
    Fit f = lloyd(seed_points, seeded(seed_points, k, rng), tolerance);
    if (s == 0 || f.inertia < best.inertia) best = std::move(f);
  }
  return coarse ? lloyd(e, std::move(best.means), tolerance).label : std::move(best.label);
}

double silhouette_line(std::span<const double> x, std::span<const uint8_t> label, int k) {
  const size_t n = x.size();
  std::vector<int64_t> count(static_cast<size_t>(k), 0);
  std::vector<double> total(static_cast<size_t>(k), 0.0);
  for (size_t i = 0; i < n; ++i) {
    ++count[label[i]];
    total[label[i]] += x[i];
  }
  if (std::count_if(count.begin(), count.end(), [](int64_t c) { return c > 0; }) < 2) return -1.0;
  // Members of each cluster at or left of the current point: sum of distances = x q - left + (total - left) - x (count - q).
  std::vector<int64_t> left_count(static_cast<size_t>(k), 0);
  std::vector<double> left(static_cast<size_t>(k), 0.0);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const size_t own = label[i];
    ++left_count[own];
    left[own] += x[i];
    if (count[own] < 2) continue;
    double a = 0, b = std::numeric_limits<double>::infinity();
    for (size_t g = 0; g < static_cast<size_t>(k); ++g) {
      if (count[g] == 0) continue;
      const double q = static_cast<double>(left_count[g]), m = static_cast<double>(count[g]);
      const double distance = x[i] * q - left[g] + (total[g] - left[g]) - x[i] * (m - q);
      if (g == own) {
        a = distance / (m - 1);
      } else {
        b = std::min(b, distance / m);
      }
    }
    sum += (b - a) / std::max(std::max(a, b), 1e-30);
  }
  return sum / static_cast<double>(n);
}

double silhouette_pairs(const Embedding& e, std::span<const uint8_t> label, int k, int64_t sample, uint64_t key) {
  std::vector<int64_t> chosen(static_cast<size_t>(e.points));
  std::iota(chosen.begin(), chosen.end(), int64_t{0});
  if (e.points > sample) {
    Rng rng(key, "silhouette-sample");
    for (int64_t i = 0; i < sample; ++i)
      std::swap(chosen[i], chosen[i + static_cast<int64_t>(rng.below(static_cast<uint64_t>(e.points - i)))]);
    chosen.resize(static_cast<size_t>(sample));
  }
  // Points sorted by cluster, so that a distance needs no look-up of where it is added.
  std::stable_sort(chosen.begin(), chosen.end(), [&](int64_t a, int64_t b) { return label[a] < label[b]; });
  const int64_t n = static_cast<int64_t>(chosen.size());
  std::vector<int64_t> begin(static_cast<size_t>(k) + 1, 0);
  for (const int64_t i : chosen)
    ++begin[label[i] + 1u];
  int filled = 0;
  for (int g = 0; g < k; ++g)
    filled += begin[g + 1] > 0;
  if (filled < 2) return -1.0;
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<float> x(static_cast<size_t>(n * e.dims));
  for (int d = 0; d < e.dims; ++d)
    for (int64_t i = 0; i < n; ++i)
      x[d * n + i] = e.x[d * e.points + chosen[i]];
  std::vector<double> score(static_cast<size_t>(n), 0.0);
#pragma omp parallel
  {
    std::vector<float> square(static_cast<size_t>(n));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
      std::fill(square.begin(), square.end(), 0.0f);
      for (int d = 0; d < e.dims; ++d) {
        const float* xd = x.data() + d * n;
        const float at = xd[i];
        for (int64_t j = 0; j < n; ++j)
          square[j] += (xd[j] - at) * (xd[j] - at);
      }
      for (int64_t j = 0; j < n; ++j)
        square[j] = std::sqrt(square[j]);
      const int own = label[chosen[i]];
      const int64_t members = begin[own + 1] - begin[own];
      if (members < 2) continue;
      double a = 0, b = std::numeric_limits<double>::infinity();
      for (int g = 0; g < k; ++g) {
        if (begin[g + 1] == begin[g]) continue;
        double sum = 0;
        for (int64_t j = begin[g]; j < begin[g + 1]; ++j)
          sum += square[j];
        if (g == own) {
          a = sum / static_cast<double>(members - 1);
        } else {
          b = std::min(b, sum / static_cast<double>(begin[g + 1] - begin[g]));
        }
      }
      score[i] = (b - a) / std::max(std::max(a, b), 1e-30);
    }
  }
  return std::accumulate(score.begin(), score.end(), 0.0) / static_cast<double>(n);
}

}  // namespace sage::graph
