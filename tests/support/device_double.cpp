#include "tests/support/device_double.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "core/util/errors.h"
#include "kernels/reference/reference_backend.h"

namespace sage::test {
namespace {

constexpr int kNanPattern = 0xff;
constexpr size_t kAlignment = 64;

size_t rounded_up(size_t n, size_t step) { return (n + step - 1) / step * step; }
[[noreturn]] void fault(const std::string& what) { throw Error(ExitCode::kInternalError, "device double: " + what); }

}  // namespace

// One operation: device memory it was given is open until its end.
class DeviceDouble::Use {
 public:
  Use(const DeviceDouble& device, const char* operation) : device_(device), operation_(operation), lock_(device.mutex_) {}
  ~Use() {
    for (const Block* b : open_)
      mprotect(b->pages, b->page_bytes, PROT_NONE);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  // Opens the block p lies in. False for host memory.
  bool open(const void* p, size_t bytes) {
    const Block* b = device_.owner(p);
    if (b == nullptr) return false;
    if (static_cast<const std::byte*>(p) + bytes > b->data + b->bytes)
      fault(fmt::format("{} was given {} bytes that end behind their block", operation_, bytes));
    if (open_.insert(b).second && mprotect(b->pages, b->page_bytes, PROT_READ | PROT_WRITE) != 0) fault("mprotect failed");
    return true;
  }
  WeightView in(WeightView v) {
    if (v.size() == 0 || open(v.data, extent(v))) return v;
    if (const Held* h = device_.covering(v)) {
      const int64_t offset = v.data - h->host.data, row = h->host.rows > 1 ? offset / h->host.ld : 0;
      const WeightView copy(h->device + row * h->host.cols + (offset - row * h->host.ld), v.rows, v.cols, h->host.cols);
      open(copy.data, extent(copy));
      return copy;
    }
    device_.host_bytes_[operation_] += static_cast<uint64_t>(v.size()) * sizeof(float);
    return v;
  }
  std::span<const float> in(std::span<const float> v) {
    return {in(WeightView(v.data(), 1, static_cast<int64_t>(v.size()))).data, v.size()};
  }
  template <class T>
  View<T> inout(View<T> v) {
    if (v.size() == 0 || open(v.data, extent(v))) return v;
    for (const auto& [id, h] : device_.held_)
      if (static_cast<const void*>(v.data) < h.host.data + (h.host.rows - 1) * h.host.ld + h.host.cols &&
          static_cast<const void*>(h.host.data) < v.data + (v.rows - 1) * v.ld + v.cols)
        fault(fmt::format("{} writes to memory that is held", operation_));
    device_.host_bytes_[operation_] += static_cast<uint64_t>(v.size()) * sizeof(T);
    return v;
  }
  const Backend& compute() const { return *device_.compute_; }

 private:
  template <class T>
  static size_t extent(const View<T>& v) {
    return static_cast<size_t>((v.rows - 1) * v.ld + v.cols) * sizeof(T);
  }
  const DeviceDouble& device_;
  const char* operation_;
  const std::lock_guard<std::recursive_mutex> lock_;
  std::set<const Block*> open_;
};

DeviceDouble::DeviceDouble(uint64_t total_bytes, Coding coding) : compute_(make_reference_backend()), coding_(coding) {
  use_.total = total_bytes;
}
DeviceDouble::~DeviceDouble() {
  for (const auto& [address, b] : blocks_)
    munmap(b.pages, b.page_bytes + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
}

std::map<std::string, uint64_t> DeviceDouble::host_bytes() const {
  const std::lock_guard lock(mutex_);
  return host_bytes_;
}
uint64_t DeviceDouble::host_bytes(const std::string& operation) const {
  const std::lock_guard lock(mutex_);
  const auto it = host_bytes_.find(operation);
  return it == host_bytes_.end() ? 0 : it->second;
}
int64_t DeviceDouble::broken_promises() const {
  const std::lock_guard lock(mutex_);
  return broken_promises_;
}
int64_t DeviceDouble::held_now() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(held_.size());
}

void* DeviceDouble::take(size_t bytes) const {
  const std::lock_guard lock(mutex_);
  if (bytes > use_.total - use_.in_use)
    throw ResourceError("device double: {} bytes asked for, {} of {} in use; expected room; take less", bytes, use_.in_use,
                        use_.total);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  Block b;
  b.bytes = bytes;
  b.page_bytes = rounded_up(std::max<size_t>(bytes, 1), page);
  void* pages = mmap(nullptr, b.page_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw ResourceError("device double: {} bytes cannot be mapped; expected memory; take less", bytes);
  b.pages = static_cast<std::byte*>(pages);
  b.data = b.pages + b.page_bytes - rounded_up(bytes, kAlignment);
  mprotect(b.pages, b.page_bytes, PROT_READ | PROT_WRITE);
  std::memset(b.pages, kNanPattern, b.page_bytes);
  mprotect(b.pages, b.page_bytes, PROT_NONE);
  blocks_.emplace(reinterpret_cast<uintptr_t>(b.data), b);
  use_.in_use += bytes;
  use_.peak = std::max(use_.peak, use_.in_use);
  return b.data;
}

void DeviceDouble::give(void* data) const {
  const std::lock_guard lock(mutex_);
  const auto it = blocks_.find(reinterpret_cast<uintptr_t>(data));
  use_.in_use -= it->second.bytes;
  munmap(it->second.pages, it->second.page_bytes + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  blocks_.erase(it);
}

const DeviceDouble::Block* DeviceDouble::owner(const void* p) const {
  const auto next = blocks_.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (next == blocks_.begin()) return nullptr;
  const Block& b = std::prev(next)->second;
  return static_cast<const std::byte*>(p) < b.data + b.bytes ? &b : nullptr;
}

const DeviceDouble::Held* DeviceDouble::covering(WeightView w) const {
  for (const auto& [id, h] : held_) {
    if (w.data < h.host.data || (w.rows > 1 && (h.host.rows <= 1 || w.ld != h.host.ld))) continue;
    const int64_t offset = w.data - h.host.data, row = h.host.rows > 1 ? offset / h.host.ld : 0;
    if (row + w.rows <= h.host.rows && offset - row * h.host.ld + w.cols <= h.host.cols) return &h;
  }
  return nullptr;
}

std::shared_ptr<void> DeviceDouble::allocate(size_t bytes) const {
  return {take(bytes), [this](void* data) { give(data); }};
}

void DeviceDouble::copy(Pitched<const void*> from, Pitched<void*> to, int64_t width_bytes, int64_t rows) const {
  if (width_bytes <= 0 || rows <= 0) return;
  Use use(*this, "copy");
  use.open(from.data, static_cast<size_t>((rows - 1) * from.pitch_bytes + width_bytes));
  use.open(to.data, static_cast<size_t>((rows - 1) * to.pitch_bytes + width_bytes));
  Backend::copy(from, to, width_bytes, rows);
}

HeldMemory DeviceDouble::hold(WeightView w) const {
  if (w.size() == 0) return nullptr;
  Use use(*this, "hold");
  if (owner(w.data) != nullptr) fault("hold of device memory; expected host memory");
  Held h{w, static_cast<float*>(take(static_cast<size_t>(w.size()) * sizeof(float)))};
  use.open(h.device, static_cast<size_t>(w.size()) * sizeof(float));
  for (int64_t i = 0; i < w.rows; ++i)
    std::memcpy(h.device + i * w.cols, w.row(i), static_cast<size_t>(w.cols) * sizeof(float));
  const uint64_t id = next_++;
  held_.emplace(id, h);
  return {w.data, [this, id](const void*) { end_hold(id); }};
}

void DeviceDouble::end_hold(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const Held h = held_.at(id);
  {
    Use use(*this, "end of a hold");
    use.open(h.device, static_cast<size_t>(h.host.size()) * sizeof(float));
    bool same = true;
    for (int64_t i = 0; i < h.host.rows; ++i)
      same =
          same && std::memcmp(h.device + i * h.host.cols, h.host.row(i), static_cast<size_t>(h.host.cols) * sizeof(float)) == 0;
    if (!same) ++broken_promises_;
  }
  held_.erase(id);
  give(h.device);
}

DeviceMemoryUse DeviceDouble::device_memory() const {
  const std::lock_guard lock(mutex_);
  return use_;
}
void DeviceDouble::restart_peak() const {
  const std::lock_guard lock(mutex_);
  use_.peak = use_.in_use;
}

MatrixStats DeviceDouble::matrix_stats(WeightView w) const {
  Use use(*this, "matrix_stats");
  return use.compute().matrix_stats(use.in(w));
}
float DeviceDouble::deviation_order_statistic(WeightView w, float center, int64_t k) const {
  Use use(*this, "deviation_order_statistic");
  return use.compute().deviation_order_statistic(use.in(w), center, k);
}
BitMask DeviceDouble::deviation_above(WeightView w, float center, float threshold) const {
  Use use(*this, "deviation_above");
  return use.compute().deviation_above(use.in(w), center, threshold);
}
void DeviceDouble::row_sq_sums(WeightView w, std::span<double> out) const {
  Use use(*this, "row_sq_sums");
  use.compute().row_sq_sums(use.in(w), out);
}
void DeviceDouble::column_sq_sums(WeightView w, std::span<double> out) const {
  Use use(*this, "column_sq_sums");
  use.compute().column_sq_sums(use.in(w), out);
}
MagnitudeHistogram DeviceDouble::magnitude_histogram(WeightView w, const Selection& own, int shift) const {
  Use use(*this, "magnitude_histogram");
  return use.compute().magnitude_histogram(use.in(w), own, shift);
}
void DeviceDouble::assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const {
  Use use(*this, "assign_by_magnitude");
  use.compute().assign_by_magnitude(use.in(w), cuts, out);
}
void DeviceDouble::group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const {
  Use use(*this, "group_moments");
  use.compute().group_moments(use.in(w), own, groups, out);
}
void DeviceDouble::unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                                std::span<Moments> out) const {
  Use use(*this, "unit_moments");
  use.compute().unit_moments(use.in(w), own, units, center, out);
}
double DeviceDouble::residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                                       std::span<ResidualLevels> levels) const {
  Use use(*this, "residual_binarize");
  return use.compute().residual_binarize(use.in(w), own, units, rule, levels);
}
void DeviceDouble::split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                                std::span<int64_t> upper_count) const {
  Use use(*this, "split_errors");
  use.compute().split_errors(use.in(x), trials, errors, upper_count);
}
void DeviceDouble::code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                              View<float> error) const {
  Use use(*this, "code_block");
  BlockCoding opened = block;
  opened.u = use.in(block.u);
  use.compute().block_coder()->code_block(opened, use.in(w), use.inout(decoded), use.inout(symbols), use.inout(error));
}
double DeviceDouble::squared_distance(WeightView a, WeightView b) const {
  Use use(*this, "squared_distance");
  return use.compute().squared_distance(use.in(a), use.in(b));
}
void DeviceDouble::hadamard_rows(View<float> w) const {
  Use use(*this, "hadamard_rows");
  use.compute().hadamard_rows(use.inout(w));
}

void DeviceDouble::linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const {
  Use use(*this, "linear");
  use.compute().linear(use.in(x), use.in(w), use.in(bias), use.inout(y));
}
void DeviceDouble::rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const {
  Use use(*this, "rms_norm");
  use.compute().rms_norm(use.in(x), use.in(gamma), eps, use.inout(y));
}
void DeviceDouble::layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                              View<float> y) const {
  Use use(*this, "layer_norm");
  use.compute().layer_norm(use.in(x), use.in(gamma), use.in(beta), eps, use.inout(y));
}
void DeviceDouble::rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const {
  Use use(*this, "rotary");
  use.compute().rotary(use.inout(x), heads, table, first_position);
}
void DeviceDouble::attention(WeightView q, WeightView k, WeightView v, const AttentionShape& shape, View<float> out) const {
  Use use(*this, "attention");
  use.compute().attention(use.in(q), use.in(k), use.in(v), shape, use.inout(out));
}
void DeviceDouble::silu_mul(WeightView gate, WeightView up, View<float> out) const {
  Use use(*this, "silu_mul");
  use.compute().silu_mul(use.in(gate), use.in(up), use.inout(out));
}
void DeviceDouble::relu(View<float> x) const {
  Use use(*this, "relu");
  use.compute().relu(use.inout(x));
}
void DeviceDouble::gelu(View<float> x) const {
  Use use(*this, "gelu");
  use.compute().gelu(use.inout(x));
}
void DeviceDouble::add(View<float> x, WeightView y) const {
  Use use(*this, "add");
  use.compute().add(use.inout(x), use.in(y));
}

void DeviceDouble::gram_update(WeightView x, double keep, double weight, View<float> gram) const {
  Use use(*this, "gram_update");
  use.compute().gram_update(use.in(x), keep, weight, use.inout(gram));
}
void DeviceDouble::gram_update(WeightView x, double keep, double weight, View<double> gram) const {
  Use use(*this, "gram_update");
  use.compute().gram_update(use.in(x), keep, weight, use.inout(gram));
}

// By its contract a call of threads side by side, on tiles in host memory.
void DeviceDouble::subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const {
  compute_->subtract_outer(u, e, x);
}
void DeviceDouble::subtract_product(WeightView a, WeightView b, View<float> x) const {
  Use use(*this, "subtract_product");
  use.compute().subtract_product(use.in(a), use.in(b), use.inout(x));
}

void DeviceDouble::head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                            std::span<int32_t> top1) const {
  Use use(*this, "head_nll");
  use.compute().head_nll(use.in(hidden), use.in(head), target, nll, top1);
}
void DeviceDouble::head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head,
                                   std::span<double> kl, std::span<uint8_t> agree, std::span<const int32_t> target,
                                   std::span<double> nll) const {
  Use use(*this, "head_divergence");
  use.compute().head_divergence(use.in(hidden_ref), use.in(head_ref), use.in(hidden), use.in(head), kl, agree, target, nll);
}

}  // namespace sage::test
