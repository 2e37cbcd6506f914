#include "strategies/grouping/magnitude_profile.h"

#include <algorithm>
#include <bit>
#include <boost/sort/spreadsort/float_sort.hpp>
#include <cmath>

namespace sage {
namespace {

constexpr int kShift = 12;

template <class Visit>
void for_each_owned(WeightView w, const Selection& own, int64_t row, Visit visit) {
  const float* values = w.row(row);
  for (int64_t k = 0; k * 64 < w.cols; ++k)
    for (uint64_t bits = own.word(row, k); bits != 0; bits &= bits - 1)
      visit(std::abs(values[k * 64 + std::countr_zero(bits)]));
}

}  // namespace

MagnitudeProfile::MagnitudeProfile(const Backend& backend, WeightView w, const Selection& own) {
  const int64_t n = own.count();
  sorted_ = n <= kExactLimit;
  if (sorted_) {
    values_.reserve(static_cast<size_t>(n));
    for (int64_t i = 0; i < w.rows; ++i)
      for_each_owned(w, own, i, [this](float a) { values_.push_back(a); });
    boost::sort::spreadsort::float_sort(values_.begin(), values_.end());
    prefix_.reserve(values_.size() + 1);
    Sums s;
    prefix_.push_back(s);
    for (const double a : values_) {
      s.count += 1;
      s.sum += a;
      s.sq_sum += a * a;
      prefix_.push_back(s);
    }
  } else {
    const MagnitudeHistogram h = backend.magnitude_histogram(w, own, kShift);
    shift_ = h.shift;
    const auto filled = [](int64_t c) { return c != 0; };
    const auto first = std::find_if(h.count.begin(), h.count.end(), filled);
    const auto last = std::find_if(h.count.rbegin(), h.count.rend(), filled);
    first_ = first - h.count.begin();
    const int64_t end = h.count.rend() - last;
    Sums s;
    prefix_.reserve(static_cast<size_t>(end - first_ + 1));
    prefix_.push_back(s);
    for (size_t b = static_cast<size_t>(first_); b < static_cast<size_t>(end); ++b) {
      s.count += static_cast<double>(h.count[b]);
      s.sum += h.sum[b];
      s.sq_sum += h.sq_sum[b];
      prefix_.push_back(s);
    }
  }
  total_ = prefix_.back();
}

double MagnitudeProfile::edge(int64_t bin) const { return std::bit_cast<float>(static_cast<uint32_t>(first_ + bin) << shift_); }

MagnitudeProfile::Sums MagnitudeProfile::below(double cut) const {
  if (!(cut > 0) || total_.count == 0) return {};
  if (sorted_) {
    const auto at = std::lower_bound(values_.begin(), values_.end(), cut, [](float v, double c) { return v < c; });
    return prefix_[static_cast<size_t>(at - values_.begin())];
  }
  const int64_t bins = static_cast<int64_t>(prefix_.size()) - 1;
  if (cut >= edge(bins)) return total_;
  if (cut <= edge(0)) return {};
  int64_t bin = static_cast<int64_t>(std::bit_cast<uint32_t>(static_cast<float>(cut)) >> shift_) - first_;
  bin = std::clamp<int64_t>(bin, 0, bins - 1);
  const Sums& a = prefix_[static_cast<size_t>(bin)];
  const Sums& b = prefix_[static_cast<size_t>(bin) + 1];
  const double n = b.count - a.count, lo = edge(bin), h = edge(bin + 1) - lo;
  const double f = std::clamp((cut - lo) / h, 0.0, 1.0), x = f * h;
  // Even spread, plus this share of what the bin's true sums differ from an even spread by.
  return {a.count + n * f, a.sum + n * f * (lo + x / 2) + f * (b.sum - a.sum - n * (lo + h / 2)),
          a.sq_sum + n * f * (lo * lo + lo * x + x * x / 3) + f * (b.sq_sum - a.sq_sum - n * (lo * lo + lo * h + h * h / 3))};
}

double MagnitudeProfile::value_at(double rank) const {
  if (sorted_) return values_[std::min(static_cast<size_t>(rank), values_.size() - 1)];
  auto at = std::upper_bound(prefix_.begin(), prefix_.end(), rank, [](double r, const Sums& s) { return r < s.count; });
  if (at == prefix_.end()) --at;
  const int64_t bin = at - prefix_.begin() - 1;
  const double before = prefix_[static_cast<size_t>(bin)].count, n = at->count - before;
  return edge(bin) + (edge(bin + 1) - edge(bin)) * (n > 0 ? std::min(1.0, (rank - before) / n) : 0.0);
}

std::vector<double> MagnitudeProfile::equal_count_cuts(int64_t groups) const {
  std::vector<double> cuts;
  for (int64_t k = 1; k < groups; ++k)
    cuts.push_back(
        total_.count == 0 ? 0.0 : value_at(std::floor(static_cast<double>(k) * total_.count / static_cast<double>(groups))));
  return cuts;
}

std::vector<float> MagnitudeProfile::order_statistics(WeightView w, const Selection& own,
                                                      std::span<const int64_t> ranks) const {
  std::vector<float> out;
  if (total_.count == 0) {
    out.assign(ranks.size(), 0.0f);
    return out;
  }
  if (sorted_) {
    for (const int64_t r : ranks)
      out.push_back(values_[static_cast<size_t>(r)]);
    return out;
  }
  std::vector<int64_t> bins;  // the bin of every rank, ascending
  for (const int64_t r : ranks) {
    const auto at = std::upper_bound(prefix_.begin(), prefix_.end(), static_cast<double>(r),
                                     [](double rank, const Sums& s) { return rank < s.count; });
    bins.push_back(at - prefix_.begin() - 1);
  }
  std::vector<int64_t> distinct = bins;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<std::vector<float>> members(distinct.size());
#pragma omp parallel
  {
    std::vector<std::vector<float>> found(distinct.size());
#pragma omp for schedule(static) nowait
    for (int64_t i = 0; i < w.rows; ++i)
      for_each_owned(w, own, i, [&](float a) {
        const int64_t bin = static_cast<int64_t>(std::bit_cast<uint32_t>(a) >> shift_) - first_;
        for (size_t d = 0; d < distinct.size(); ++d)
          if (distinct[d] == bin) found[d].push_back(a);
      });
#pragma omp critical(sage_order_statistics)
    for (size_t d = 0; d < distinct.size(); ++d)
      members[d].insert(members[d].end(), found[d].begin(), found[d].end());
  }
  for (auto& m : members)
    std::sort(m.begin(), m.end());  // the order threads arrived in is forgotten here
  for (size_t k = 0; k < ranks.size(); ++k) {
    const size_t d = static_cast<size_t>(std::lower_bound(distinct.begin(), distinct.end(), bins[k]) - distinct.begin());
    out.push_back(
        members[d][static_cast<size_t>(ranks[k] - static_cast<int64_t>(prefix_[static_cast<size_t>(bins[k])].count))]);
  }
  return out;
}

std::vector<double> MagnitudeProfile::means(std::span<const double> cuts) const {
  std::vector<double> out;
  Sums before;
  for (size_t g = 0; g <= cuts.size(); ++g) {
    const Sums upto = g < cuts.size() ? below(cuts[g]) : total_;
    const double n = upto.count - before.count;
    const double lo = g == 0 ? 0.0 : cuts[g - 1];
    const double hi = g < cuts.size() ? cuts[g] : lo;
    out.push_back(n > 0.5 ? (upto.sum - before.sum) / n : (lo + hi) / 2);
    before = upto;
  }
  return out;
}

double MagnitudeProfile::squared_error(std::span<const double> cuts) const {
  double error = 0;
  Sums before;
  for (size_t g = 0; g <= cuts.size(); ++g) {
    const Sums upto = g < cuts.size() ? below(cuts[g]) : total_;
    const double n = upto.count - before.count, s = upto.sum - before.sum;
    if (n > 0) error += upto.sq_sum - before.sq_sum - s * s / n;
    before = upto;
  }
  return error;
}

int MagnitudeProfile::lloyd(std::vector<double>& cuts, int steps, double tolerance) const {
  if (cuts.empty() || total_.count == 0) return 0;
  double last = squared_error(cuts);
  for (int step = 1; step <= steps; ++step) {
    const std::vector<double> m = means(cuts);
    std::vector<double> moved(cuts.size());
    for (size_t g = 0; g < cuts.size(); ++g)
      moved[g] = (m[g] + m[g + 1]) / 2;
    const double error = squared_error(moved);
    if (!(error <= last)) return step - 1;
    cuts = std::move(moved);
    if (last - error <= tolerance * error) return step;
    last = error;
  }
  return steps;
}

}  // namespace sage
