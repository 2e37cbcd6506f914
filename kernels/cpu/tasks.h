// How matrices are cut into tasks. Bounds depend on the shape alone, never on the number of threads; which thread runs a task
// is left to the schedule.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sage::cpu {

struct Task {
  int64_t row0, row1, col0, col1;
};

class Tasks {
 public:
  // Tasks of about `size` elements: whole rows where rows are short, pieces of one row (a multiple of 64 columns) otherwise.
  Tasks(int64_t rows, int64_t cols, int64_t size = 65536) : rows_(rows), cols_(cols) {
    if (rows <= 0 || cols <= 0) return;
    col_step_ = std::min(cols, size);
    row_step_ = std::max<int64_t>(1, size / cols);
    col_parts_ = (cols + col_step_ - 1) / col_step_;
    row_parts_ = (rows + row_step_ - 1) / row_step_;
  }
  int64_t count() const { return row_parts_ * col_parts_; }
  int64_t column_parts() const { return col_parts_; }
  Task at(int64_t t) const {
    const int64_t r = t / col_parts_ * row_step_, c = t % col_parts_ * col_step_;
    return {r, std::min(rows_, r + row_step_), c, std::min(cols_, c + col_step_)};
  }

 private:
  int64_t rows_, cols_, row_step_ = 1, col_step_ = 1, row_parts_ = 0, col_parts_ = 0;
};

// A single task runs outside of any parallel region, where OpenBLAS would take all of OpenMP's threads, and its result depend on
// their number.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// Calls body(task number, thread number) for every task. The body must not throw.
template <class Body>
void for_tasks(int64_t count, const Body& body) {
  if (count == 1) {
    const OneThread alone;
    body(int64_t{0}, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic) if (count > 1)
  for (int64_t t = 0; t < count; ++t)
    body(t, omp_get_thread_num());
}

// How many different thread numbers for_tasks may use for so many tasks: the size of scratch memory.
inline int thread_limit(int64_t count) { return count > 1 ? omp_get_max_threads() : 1; }

}  // namespace sage::cpu
