// Linear layers, norms, rotary embedding and elementwise operations.
#include <cblas.h>

#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

constexpr int64_t kSmallTask = 16384;  // elements; these operations run in cache, a task is a few microseconds

}  // namespace

void product_tile(WeightView x, WeightView w, View<float> y) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(x.rows), static_cast<blasint>(w.rows),
              static_cast<blasint>(x.cols), 1.0f, x.data, static_cast<blasint>(x.ld), w.data, static_cast<blasint>(w.ld), 0.0f,
              y.data, static_cast<blasint>(y.ld));
}

// OpenBLAS runs single-threaded on tiles of y: its own threads would compete for the cores with those of OpenMP, which still
// spin after the operation before, and its results would depend on their number. 2 T m n operations.
void CpuBackend::linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const {
  shapes::linear(x, w, bias, y);
  const int64_t row_step = 512, col_step = x.rows >= 256 ? 1024 : 128;
  const int64_t row_parts = (y.rows + row_step - 1) / row_step, col_parts = (y.cols + col_step - 1) / col_step;
  for_tasks(row_parts * col_parts, [&](int64_t t, int) {
    const int64_t row0 = t / col_parts * row_step, row1 = std::min(y.rows, row0 + row_step);
    const int64_t col0 = t % col_parts * col_step, col1 = std::min(y.cols, col0 + col_step);
    const View<float> tile = y.row_range(row0, row1).columns(col0, col1);
    if (x.cols > 0) {
      product_tile(x.row_range(row0, row1), w.row_range(col0, col1), tile);
    } else {
      for (int64_t i = 0; i < tile.rows; ++i)
        std::fill(tile.row(i), tile.row(i) + tile.cols, 0.0f);
    }
    if (!bias.empty())
      for (int64_t i = 0; i < tile.rows; ++i)
        k_.add(tile.row(i), bias.data() + col0, tile.cols);
  });
}

void CpuBackend::rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const {
  shapes::norm(x, gamma, y, "rms_norm");
  const int64_t step = std::max<int64_t>(1, kSmallTask / std::max<int64_t>(1, x.cols));
  for_tasks((x.rows + step - 1) / step, [&](int64_t t, int) {
    for (int64_t i = t * step; i < std::min(x.rows, (t + 1) * step); ++i)
      k_.rms_norm(x.row(i), gamma.data(), x.cols, eps, y.row(i));
  });
}

void CpuBackend::layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                            View<float> y) const {
  shapes::norm(x, gamma, y, "layer_norm");
  shapes::norm(x, beta, y, "layer_norm");
  const int64_t step = std::max<int64_t>(1, kSmallTask / std::max<int64_t>(1, x.cols));
  for_tasks((x.rows + step - 1) / step, [&](int64_t t, int) {
    for (int64_t i = t * step; i < std::min(x.rows, (t + 1) * step); ++i)
      k_.layer_norm(x.row(i), gamma.data(), beta.data(), x.cols, eps, y.row(i));
  });
}

struct CpuBackend::Angles {
  RotaryTable table;
  int64_t first = 0, count = 0;
  Matrix cosine, sine;  // count x head_dim/2, attention factor included
};

std::shared_ptr<const CpuBackend::Angles> CpuBackend::angles(const RotaryTable& table, int64_t first, int64_t count) const {
  {
    const std::lock_guard<std::mutex> lock(angles_mutex_);
    const Angles* a = angles_.get();
    if (a != nullptr && a->first <= first && first + count <= a->first + a->count && a->table.head_dim == table.head_dim &&
        a->table.attention_factor == table.attention_factor && a->table.inv_freq == table.inv_freq)
      return angles_;
  }
  const int64_t half = table.head_dim / 2;
  auto made = std::make_shared<Angles>();
  made->table = table;
  made->first = first;
  made->count = count;
  made->cosine = Matrix(count, half);
  made->sine = Matrix(count, half);
  for_tasks((count + 63) / 64, [&](int64_t task, int) {
    for (int64_t t = task * 64; t < std::min(count, task * 64 + 64); ++t) {
      for (int64_t i = 0; i < half; ++i) {
        // The angle is an FP32 product, as in the models' own code: at position 2000 the rounding is visible in the logits.
        const float angle = static_cast<float>(first + t) * static_cast<float>(table.inv_freq[static_cast<size_t>(i)]);
        made->cosine(t, i) = static_cast<float>(std::cos(static_cast<double>(angle)) * table.attention_factor);
        made->sine(t, i) = static_cast<float>(std::sin(static_cast<double>(angle)) * table.attention_factor);
      }
    }
  });
  const std::lock_guard<std::mutex> lock(angles_mutex_);
  angles_ = made;
  return made;
}

void CpuBackend::rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const {
  shapes::rotary(x, heads, table);
  if (x.rows == 0) return;
  const std::shared_ptr<const Angles> a = angles(table, first_position, x.rows);
  const int64_t step = std::max<int64_t>(1, kSmallTask / x.cols), offset = first_position - a->first;
  for_tasks((x.rows + step - 1) / step, [&](int64_t t, int) {
    for (int64_t i = t * step; i < std::min(x.rows, (t + 1) * step); ++i)
      for (int h = 0; h < heads; ++h)
        k_.rotate(x.row(i) + int64_t{h} * table.head_dim, a->cosine.row(offset + i), a->sine.row(offset + i),
                  table.head_dim / 2);
  });
}

void CpuBackend::silu_mul(WeightView gate, WeightView up, View<float> out) const {
  shapes::require(shapes::same(gate, up) && shapes::same(gate, out), "silu_mul", "three matrices of one shape");
  const Tasks tasks(gate.rows, gate.cols, kSmallTask);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.silu_mul(gate.row(i) + task.col0, up.row(i) + task.col0, task.col1 - task.col0, out.row(i) + task.col0);
  });
}

void CpuBackend::relu(View<float> x) const {
  const Tasks tasks(x.rows, x.cols, kSmallTask);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.relu(x.row(i) + task.col0, task.col1 - task.col0);
  });
}

void CpuBackend::gelu(View<float> x) const {
  const Tasks tasks(x.rows, x.cols, kSmallTask);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.gelu(x.row(i) + task.col0, task.col1 - task.col0);
  });
}

void CpuBackend::add(View<float> x, WeightView y) const {
  shapes::require(shapes::same(x, y), "add", "two matrices of one shape");
  const Tasks tasks(x.rows, x.cols, kSmallTask);
  for_tasks(tasks.count(), [&](int64_t t, int) {
    const Task task = tasks.at(t);
    for (int64_t i = task.row0; i < task.row1; ++i)
      k_.add(x.row(i) + task.col0, y.row(i) + task.col0, task.col1 - task.col0);
  });
}

}  // namespace sage::cpu
