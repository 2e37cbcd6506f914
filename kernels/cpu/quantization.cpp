// Statistics and quantization on the CPU. Each operation is one or two passes at memory speed; cost notes count bytes per
// weight.
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

double fold(const double* lanes) {
  double v[kLanes];
  std::copy(lanes, lanes + kLanes, v);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int l = 0; l < step; ++l)
      v[l] += v[l + step];
  return v[0];
}

Moments fold(const LaneSums& s) { return {s.count, fold(s.sum), fold(s.abs_sum), fold(s.sq_sum)}; }

void add_to(Moments& a, const Moments& b) {
  a.count += b.count;
  a.sum += b.sum;
  a.abs_sum += b.abs_sum;
  a.sq_sum += b.sq_sum;
}

// The ownership bits of columns [col0, col1) of a row (col0 a multiple of 64), with one word more that may be read.
class OwnWords {
 public:
  OwnWords(const Selection& own, int64_t columns) : own_(own), words_(static_cast<size_t>((columns + 63) / 64 + 1), 0) {}
  const uint64_t* row(int64_t i, int64_t col0, int64_t col1) {
    const int64_t first = col0 / 64, count = (col1 - col0 + 63) / 64;
    for (int64_t w = 0; w < count; ++w)
      words_[static_cast<size_t>(w)] = own_.word(i, first + w);
    return words_.data();
  }

 private:
  Selection own_;
  std::vector<uint64_t> words_;
};

std::vector<OwnWords> own_words(const Selection& own, int64_t columns, int64_t tasks) {
  return std::vector<OwnWords>(static_cast<size_t>(thread_limit(tasks)), OwnWords(own, columns));
}

int64_t widest(const Tasks& tasks) { return tasks.count() == 0 ? 0 : tasks.at(0).col1; }

template <class Body>
double summed(const Tasks& tasks, const Body& body) {
  std::vector<double> part(static_cast<size_t>(tasks.count()));
  for_tasks(tasks.count(), [&](int64_t t, int) {
    double lanes[kLanes] = {};
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      body(task, i, lanes);
    part[static_cast<size_t>(t)] = fold(lanes);
  });
  double total = 0;
  for (double p : part)
    total += p;
  return total;
}

// Bands of rows for operations with one accumulator per column; at most 16, so that partial sums stay small.
struct Bands {
  explicit Bands(int64_t rows) : rows(rows), step(std::max<int64_t>(1, (rows + 15) / 16)), count((rows + step - 1) / step) {}
  int64_t rows, step, count;
  int64_t first(int64_t b) const { return b * step; }
  int64_t last(int64_t b) const { return std::min(rows, (b + 1) * step); }
};

}  // namespace

MatrixStats CpuBackend::matrix_stats(WeightView w) const {
  struct Part {
    Moments moments;
    float min, max;
    int64_t nonfinite;
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Tasks tasks(w.rows, w.cols);
  std::vector<Part> parts(static_cast<size_t>(tasks.count()));
  for_tasks(tasks.count(), [&](int64_t t, int) {
    LaneStats s;
    std::fill(s.min, s.min + kLanes, kInfinity);
    std::fill(s.max, s.max + kLanes, -kInfinity);
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.stats(w.row(i) + task.col0, task.col1 - task.col0, &s);
    parts[static_cast<size_t>(t)] = {fold(s.sums), *std::min_element(s.min, s.min + kLanes),
                                     *std::max_element(s.max, s.max + kLanes), s.nonfinite};
  });
  MatrixStats out;
  float low = kInfinity, high = -kInfinity;
  for (const Part& p : parts) {
    add_to(out.moments, p.moments);
    low = std::min(low, p.min);
    high = std::max(high, p.max);
    out.nonfinite += p.nonfinite;
  }
  if (out.moments.count > 0) {
    out.min = low;
    out.max = high;
  }
  return out;
}

// Radix selection on the float pattern, whose order is that of the magnitudes: one pass counts the upper 15 bits, a second the
// lower 16 bits of the members of the bin that holds the k-th. 8 bytes read per weight.
float CpuBackend::deviation_order_statistic(WeightView w, float center, int64_t k) const {
  shapes::order_statistic(w, k);
  const Tasks tasks(w.rows, w.cols);
  auto select = [&](size_t bins, int64_t& rank, const auto& count_row) {
    std::vector<std::vector<uint64_t>> histograms(static_cast<size_t>(thread_limit(tasks.count())),
                                                  std::vector<uint64_t>(bins, 0));
    for_tasks(tasks.count(), [&](int64_t t, int thread) {
      const Task task = tasks.at(t);
      for (int64_t i = task.row0; i < task.row1; ++i)
        count_row(w.row(i) + task.col0, task.col1 - task.col0, histograms[static_cast<size_t>(thread)].data());
    });
    for (size_t b = 0; b < bins; ++b) {
      int64_t members = 0;
      for (const auto& h : histograms)
        members += static_cast<int64_t>(h[b]);
      if (rank < members) return static_cast<uint32_t>(b);
      rank -= members;
    }
    return static_cast<uint32_t>(bins - 1);
  };
  const uint32_t high =
      select(size_t{1} << 15, k, [&](const float* row, int64_t n, uint64_t* h) { k_.deviation_high(row, n, center, h); });
  const uint32_t low =
      select(size_t{1} << 16, k, [&](const float* row, int64_t n, uint64_t* h) { k_.deviation_low(row, n, center, high, h); });
  return std::bit_cast<float>(high << 16 | low);
}

BitMask CpuBackend::deviation_above(WeightView w, float center, float threshold) const {
  BitMask out(w.rows, w.cols);
  const Tasks tasks(w.rows, w.cols);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.above(w.row(i) + task.col0, task.col1 - task.col0, center, threshold, out.row(i) + task.col0 / 64);
  });
  return out;
}

void CpuBackend::row_sq_sums(WeightView w, std::span<double> out) const {
  shapes::sq_sums(w.rows, out, "row_sq_sums");
  const Tasks tasks(w.rows, w.cols);
  std::vector<double> part(static_cast<size_t>(w.rows * tasks.column_parts()));
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i) {
      double lanes[kLanes] = {};
      k_.squares(w.row(i) + task.col0, task.col1 - task.col0, lanes);
      part[static_cast<size_t>(i * tasks.column_parts() + t % tasks.column_parts())] = fold(lanes);
    }
  });
  for (int64_t i = 0; i < w.rows; ++i) {
    double sum = 0;
    for (int64_t c = 0; c < tasks.column_parts(); ++c)
      sum += part[static_cast<size_t>(i * tasks.column_parts() + c)];
    out[static_cast<size_t>(i)] = sum;
  }
}

void CpuBackend::column_sq_sums(WeightView w, std::span<double> out) const {
  shapes::sq_sums(w.cols, out, "column_sq_sums");
  std::fill(out.begin(), out.end(), 0.0);
  constexpr int64_t kTile = 2048;  // accumulators of a tile stay in the first-level cache
  const Bands bands(w.rows);
  const int64_t tiles = (w.cols + kTile - 1) / kTile;
  std::vector<double> part(static_cast<size_t>(bands.count * w.cols), 0.0);
  for_tasks(bands.count * tiles, [&](int64_t t, int) {
    const int64_t band = t / tiles, col0 = t % tiles * kTile, col1 = std::min(w.cols, col0 + kTile);
    for (int64_t i = bands.first(band); i < bands.last(band); ++i)
      k_.column_squares(w.row(i) + col0, col1 - col0, part.data() + band * w.cols + col0);
  });
  for (int64_t band = 0; band < bands.count; ++band)
    for (int64_t j = 0; j < w.cols; ++j)
      out[static_cast<size_t>(j)] += part[static_cast<size_t>(band * w.cols + j)];
}

// All patterns p of a bin are base | l with l < 2^shift, and their values are (M + l) * 2^e with one M and e per bin. So
// integer sums of l and l^2 give both sums exactly, in any order, from 16 bytes per bin.
MagnitudeHistogram CpuBackend::magnitude_histogram(WeightView w, const Selection& own, int shift) const {
  shapes::histogram(w, own, shift);
  constexpr uint32_t kInfinityBits = 0x7f800000u;
  constexpr uint64_t kLowMask = (uint64_t{1} << kPackedCountShift) - 1;
  const int fine = std::min(shift, 12);
  const size_t patterns = size_t{1} << (31 - fine), bins = kInfinityBits >> fine;

  struct Wide {  // totals of tables that were emptied
    uint64_t count = 0, low = 0, low_sq = 0;
  };
  struct Local {
    std::vector<PackedBin> bins;
    std::vector<Wide> wide;
    int64_t seen = 0;
  };
  const Tasks tasks(w.rows, w.cols);
  std::vector<Local> locals(static_cast<size_t>(thread_limit(tasks.count())));
  for (Local& l : locals) {
    l.bins.resize(patterns);
    // One thread may get every task and fill its counters; memory for that must be there before the parallel part.
    if (w.size() > kPackedLimit) l.wide.resize(bins);
  }
  auto empty = [&](Local& l) {
    for (size_t b = 0; b < bins; ++b) {
      if (l.bins[b].count_and_low == 0) continue;
      l.wide[b].count += l.bins[b].count_and_low >> kPackedCountShift;
      l.wide[b].low += l.bins[b].count_and_low & kLowMask;
      l.wide[b].low_sq += l.bins[b].low_sq;
      l.bins[b] = {};
    }
    l.seen = 0;
  };
  std::vector<OwnWords> words = own_words(own, widest(tasks), tasks.count());
  for_tasks(tasks.count(), [&](int64_t t, int thread) {
    const Task task = tasks.at(t);
    Local& l = locals[static_cast<size_t>(thread)];
    const int64_t size = (task.row1 - task.row0) * (task.col1 - task.col0);
    if (l.seen + size > kPackedLimit) empty(l);
    l.seen += size;
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.magnitude_bins(w.row(i) + task.col0, task.col1 - task.col0,
                        words[static_cast<size_t>(thread)].row(i, task.col0, task.col1), fine, l.bins.data());
  });

  MagnitudeHistogram out;
  out.shift = shift;
  const size_t coarse_bins = kInfinityBits >> shift, per_coarse = size_t{1} << (shift - fine);
  out.count.resize(coarse_bins);
  out.sum.resize(coarse_bins);
  out.sq_sum.resize(coarse_bins);
  constexpr size_t kStep = 4096;
  for_tasks(static_cast<int64_t>((coarse_bins + kStep - 1) / kStep), [&](int64_t t, int) {
    const size_t first = static_cast<size_t>(t) * kStep, last = std::min(coarse_bins, first + kStep);
    for (size_t c = first; c < last; ++c) {
      for (size_t b = c * per_coarse; b < (c + 1) * per_coarse; ++b) {
        Wide s;
        for (const Local& l : locals) {
          s.count += l.bins[b].count_and_low >> kPackedCountShift;
          s.low += l.bins[b].count_and_low & kLowMask;
          s.low_sq += l.bins[b].low_sq;
          if (l.wide.empty()) continue;
          s.count += l.wide[b].count;
          s.low += l.wide[b].low;
          s.low_sq += l.wide[b].low_sq;
        }
        if (s.count == 0) continue;
        const auto base = static_cast<uint32_t>(b << fine);
        const uint32_t exponent = base >> 23;
        const uint64_t mantissa = (base & 0x7fffffu) | (exponent == 0 ? 0u : 0x800000u);
        const int scale = (exponent == 0 ? 1 : static_cast<int>(exponent)) - 150;  // value = mantissa * 2^scale
        const unsigned __int128 n = s.count, m = mantissa;
        out.count[c] += static_cast<int64_t>(s.count);
        out.sum[c] += std::ldexp(static_cast<double>(n * m + s.low), scale);
        out.sq_sum[c] += std::ldexp(static_cast<double>(n * m * m + 2 * m * s.low + s.low_sq), 2 * scale);
      }
    }
  });
  return out;
}

void CpuBackend::assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const {
  shapes::cuts(cuts);
  const Tasks tasks(w.rows, w.cols);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.assign(w.row(i) + task.col0, task.col1 - task.col0, cuts.data(), static_cast<int>(cuts.size()),
                out + i * w.cols + task.col0);
  });
}

void CpuBackend::group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const {
  shapes::group_moments(w, own, groups, out);
  std::fill(out.begin(), out.end(), Moments{});
  const Tasks tasks(w.rows, w.cols);
  std::vector<OwnWords> words = own_words(own, widest(tasks), tasks.count());
  auto row_words = [&](const Task& task, int64_t i, int thread) {
    return words[static_cast<size_t>(thread)].row(i, task.col0, task.col1);
  };

  switch (groups.shape) {
    case LabelShape::kSingle: {
      std::vector<Moments> part(static_cast<size_t>(tasks.count()));
      for_tasks(tasks.count(), [&](int64_t t, int thread) {
        LaneSums s;
        const Task task = tasks.at(t);
        for (int64_t i = task.row0; i < task.row1; ++i)
          k_.moments(w.row(i) + task.col0, task.col1 - task.col0, row_words(task, i, thread), 0, &s);
        part[static_cast<size_t>(t)] = fold(s);
      });
      for (const Moments& p : part)
        add_to(out[0], p);
      return;
    }
    case LabelShape::kRow: {
      const int64_t parts = tasks.column_parts();
      std::vector<Moments> part(static_cast<size_t>(w.rows * parts));
      for_tasks(tasks.count(), [&](int64_t t, int thread) {
        const Task task = tasks.at(t);
        for (int64_t i = task.row0; i < task.row1; ++i) {
          LaneSums s;
          k_.moments(w.row(i) + task.col0, task.col1 - task.col0, row_words(task, i, thread), 0, &s);
          part[static_cast<size_t>(i * parts + t % parts)] = fold(s);
        }
      });
      for (int64_t i = 0; i < w.rows; ++i)
        for (int64_t c = 0; c < parts; ++c)
          add_to(out[groups.label[static_cast<size_t>(i)]], part[static_cast<size_t>(i * parts + c)]);
      return;
    }
    case LabelShape::kRowBlock: {
      const int64_t blocks = groups.blocks_per_row();
      if (w.size() == 0) return;
      // Bands of rows, so that partial sums of all blocks of a large matrix are never in memory at once.
      const int64_t band = std::max<int64_t>(1, (int64_t{1} << 18) / blocks);
      std::vector<Moments> part(static_cast<size_t>(std::min(band, w.rows) * blocks));
      std::vector<OwnWords> whole = own_words(own, w.cols, std::min(band, w.rows));
      for (int64_t row0 = 0; row0 < w.rows; row0 += band) {
        const int64_t row1 = std::min(w.rows, row0 + band);
        for_tasks(row1 - row0, [&](int64_t t, int thread) {
          const uint64_t* bits = whole[static_cast<size_t>(thread)].row(row0 + t, 0, w.cols);
          for (int64_t b = 0; b < blocks; ++b) {
            LaneSums s;
            const int64_t first = b * groups.block;
            k_.moments(w.row(row0 + t) + first, std::min(groups.block, w.cols - first), bits, first, &s);
            part[static_cast<size_t>(t * blocks + b)] = fold(s);
          }
        });
        for (int64_t p = 0; p < (row1 - row0) * blocks; ++p)
          add_to(out[groups.label[static_cast<size_t>(row0 * blocks + p)]], part[static_cast<size_t>(p)]);
      }
      return;
    }
    case LabelShape::kColumn: {
      constexpr int64_t kTile = 512;  // four accumulators of a tile stay in the first-level cache
      const Bands bands(w.rows);
      const int64_t tiles = (w.cols + kTile - 1) / kTile, padded = tiles * kTile;
      std::vector<double> part(static_cast<size_t>(bands.count * padded * 4), 0.0);
      for_tasks(bands.count * tiles, [&](int64_t t, int) {
        const int64_t row0 = bands.first(t / tiles), row1 = bands.last(t / tiles), col0 = t % tiles * kTile;
        const int64_t cols = std::min(kTile, w.cols - col0);
        double* sums = part.data() + t * kTile * 4;
        uint64_t bits[kTile / 64 + 1] = {};
        for (int64_t i = row0; i < row1; ++i) {
          for (int64_t word = 0; word * 64 < cols; ++word)
            bits[word] = own.word(i, col0 / 64 + word);
          k_.column_moments(w.row(i) + col0, cols, bits, sums, sums + kTile, sums + 2 * kTile, sums + 3 * kTile);
        }
      });
      for (int64_t j = 0; j < w.cols; ++j) {
        for (int64_t band = 0; band < bands.count; ++band) {
          const double* s = part.data() + (band * tiles + j / kTile) * kTile * 4 + j % kTile;
          add_to(out[groups.label[static_cast<size_t>(j)]], {static_cast<int64_t>(s[3 * kTile]), s[0], s[kTile], s[2 * kTile]});
        }
      }
      return;
    }
    case LabelShape::kElement: {
      struct Table {
        LabelTable entries = {};
      };
      const auto count = static_cast<size_t>(groups.groups);
      std::vector<Moments> part(static_cast<size_t>(tasks.count()) * count);
      // Tables have a place for every byte, so a label out of range does no harm before it is noticed below.
      std::vector<Table> tables(static_cast<size_t>(thread_limit(tasks.count())));
      for_tasks(tasks.count(), [&](int64_t t, int thread) {
        LabelTable& table = tables[static_cast<size_t>(thread)].entries;
        for (size_t g = 0; g < count; ++g)
          std::fill(table[g], table[g] + kTableCopies, TableEntry{});
        int64_t unowned[kTableLabels] = {};
        const Task task = tasks.at(t);
        for (int64_t i = task.row0; i < task.row1; ++i)
          k_.label_moments(w.row(i) + task.col0, task.col1 - task.col0, row_words(task, i, thread),
                           groups.element.data() + i * w.cols + task.col0, table, unowned);
        for (size_t g = 0; g < count; ++g) {
          TableEntry* e = table[g];
          for (int step = kTableCopies / 2; step > 0; step /= 2) {
            for (int c = 0; c < step; ++c) {
              e[c].sum += e[c + step].sum;
              e[c].abs_sum += e[c + step].abs_sum;
              e[c].sq_sum += e[c + step].sq_sum;
              e[c].count += e[c + step].count;
            }
          }
          part[static_cast<size_t>(t) * count + g] = {static_cast<int64_t>(e[0].count) - unowned[g], e[0].sum, e[0].abs_sum,
                                                      e[0].sq_sum};
        }
      });
      for (const Table& table : tables)
        for (size_t g = count; g < kTableLabels; ++g)
          for (const TableEntry& e : table.entries[g])
            shapes::require(e.count == 0, "group_moments", shapes::kLabelRule);
      for (size_t p = 0; p < part.size(); ++p)
        add_to(out[p % count], part[p]);
      return;
    }
  }
}

double CpuBackend::squared_distance(WeightView a, WeightView b) const {
  shapes::require(shapes::same(a, b), "squared_distance", "two matrices of one shape");
  return summed(Tasks(a.rows, a.cols), [&](const Task& task, int64_t i, double* lanes) {
    k_.squared_distance(a.row(i) + task.col0, b.row(i) + task.col0, task.col1 - task.col0, lanes);
  });
}

void CpuBackend::hadamard_rows(View<float> w) const {
  shapes::hadamard(w);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(w.cols)));
  for_tasks(w.rows, [&](int64_t i, int) { k_.hadamard(w.row(i), w.cols, scale); });
}

}  // namespace sage::cpu
