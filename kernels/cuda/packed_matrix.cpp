#include "kernels/cuda/packed_matrix.h"

#include <algorithm>
#include <limits>

#include "core/util/errors.h"
#include "core/util/half.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

constexpr int64_t kQuadColumns = 128;  // of one 16-byte load
constexpr int64_t kTileRows = 16;      // of the tensor-core product

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

void require(bool ok, const char* what, int64_t found, int64_t expected) {
  if (!ok) throw RunError("packed matrix: {} {}; expected {}; the planes do not belong to one matrix", found, what, expected);
}

// Numbers of salient and unsalient weights, from the bits themselves.
int64_t count_salient(const PackedPlanes& p, int64_t first, int64_t last) {
  if (p.salient_bits.empty()) return 0;
  int64_t n = 0;
  const int64_t rows = p.salient_pitch == 0 ? 1 : p.rows;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = first; j < last; ++j) {
      const int64_t bit = i * p.salient_pitch + j;
      n += static_cast<int64_t>(p.salient_bits[static_cast<size_t>(bit / 8)] >> (bit % 8) & std::byte{1});
    }
  return p.salient_pitch == 0 ? n * p.rows : n;
}

// Kernels trust the layout: everything they index by is checked here.
void check(const PackedPlanes& p) {
  require(p.rows > 0 && p.cols > 0, "weights", p.rows * p.cols, 1);
  require(p.cols <= std::numeric_limits<int32_t>::max(), "columns", p.cols, std::numeric_limits<int32_t>::max());
  require(p.id_planes >= 0 && p.id_planes <= kMostIdPlanes, "id planes", p.id_planes, kMostIdPlanes);
  require(p.groups >= 1 && p.groups <= 1 << p.id_planes, "groups", p.groups, int64_t{1} << p.id_planes);
  require(p.block_columns % 32 == 0, "columns in a block, not a multiple of", p.block_columns, 32);
  const int64_t levels = (p.rows_differ ? p.rows : 1) * p.blocks() * p.groups;
  require(std::ssize(p.scales) == levels, "scales", std::ssize(p.scales), levels);
  require(p.shifts.empty() || std::ssize(p.shifts) == levels, "shifts", std::ssize(p.shifts), levels);
  const auto factors = [](const std::vector<float>& f, int64_t n, const char* what) {
    require(f.empty() || std::ssize(f) == n, what, std::ssize(f), n);
  };
  factors(p.column_scale, p.cols, "column scales");
  factors(p.row_factor, p.rows, "row factors");
  factors(p.column_factor, p.cols, "column factors");
  if (!p.salient_bits.empty()) {
    const int64_t bits = (p.salient_pitch == 0 ? 0 : (p.rows - 1) * p.salient_pitch) + p.cols;
    require(8 * std::ssize(p.salient_bits) >= bits, "salient bits", 8 * std::ssize(p.salient_bits), bits);
    require(p.salient_pitch == 0 || p.salient_pitch >= p.cols, "salient bits a row", p.salient_pitch, p.cols);
  }
  int64_t at = 0, symbols = 0, ids = 0;
  for (const PackedPlanes::Segment& s : p.segments) {
    require(s.first == at && s.count > 0 && s.first % 32 == 0, "is the first column of a segment", s.first, at);
    at += s.count;
    const int64_t own = p.rows * s.count - count_salient(p, s.first, at);
    symbols += own;
    if (s.has_ids) ids += own;
  }
  require(at == p.cols, "columns in segments", at, p.cols);
  const auto enough = [](const PackedPlanes::Symbols& s, int64_t n, const char* what) {
    require(s.width >= 1 && s.width <= 8, "bits a symbol", s.width, 8);
    require(8 * std::ssize(s.bytes) >= n * s.width, what, 8 * std::ssize(s.bytes), n * s.width);
  };
  enough(p.signs, symbols, "bits of signs");
  enough(p.ids, ids, "bits of ids");
  const int64_t salient = count_salient(p, 0, p.cols);
  require(std::ssize(p.salient_values) == salient, "salient values", std::ssize(p.salient_values), salient);
}

}  // namespace

GemvChoice choose_gemv(int major, int minor, int64_t rows, int64_t /*cols*/, int64_t block_columns) {
  if (block_columns % kQuadColumns != 0)
    return {Gemv::kSignFlip, "scales change within 128 columns: integer sums would be too short to pay"};
  if (major > 9 || (major == 9 && minor > 0))
    return {Gemv::kPopc, "newer than sm_90: products of bits are no instruction of the tensor cores any more"};
  if (block_columns != 0) return {Gemv::kPopc, "scales change with the column: tensor-core sums span all columns"};
  if (rows < kTileRows) return {Gemv::kPopc, "fewer rows than a tensor-core tile has"};
  return {Gemv::kTensorCore, "sm_80 to sm_90: one instruction multiplies 16 x 256 bits by 8 planes"};
}

PackedMatrix::PackedMatrix(const DeviceBackend& backend, const PackedPlanes& planes, PackedOptions options)
    : backend_(backend), options_(options) {
  check(planes);
  PackedView& v = view_;
  v.rows = planes.rows;
  v.cols = planes.cols;
  v.words = round_up(planes.cols, kQuadColumns) / 32;
  v.id_planes = planes.id_planes;
  v.blocks = planes.blocks();
  v.block_columns = v.blocks > 1 ? planes.block_columns : 0;
  v.groups = planes.groups;
  v.scale_row_stride = planes.rows_differ ? v.blocks * v.groups : 0;
  v.wide_numbers = planes.wide_numbers;
  v.scales = send_numbers(planes.scales, v.wide_numbers);
  if (!planes.shifts.empty()) v.shifts = send_numbers(planes.shifts, v.wide_numbers);
  v.column_scale = send_factors(planes.column_scale);
  v.row_factor = send_factors(planes.row_factor);
  v.column_factor = send_factors(planes.column_factor);
  if (!planes.salient_values.empty()) {
    v.wide_values = options_.salient == SalientNumbers::kExact;
    v.salient_values = send_numbers(planes.salient_values, v.wide_values);
  }
  unpack(planes);
}

std::shared_ptr<void> PackedMatrix::send(const void* bytes, size_t count) {
  std::vector<uint32_t> padded(count / 4 + 2);
  std::copy_n(static_cast<const std::byte*>(bytes), count, reinterpret_cast<std::byte*>(padded.data()));
  const auto size = static_cast<int64_t>(padded.size() * sizeof(uint32_t));
  std::shared_ptr<void> memory = backend_.allocate(static_cast<size_t>(size));
  backend_.copy({padded.data(), size}, {memory.get(), size}, size, 1);
  return memory;
}

const void* PackedMatrix::send_numbers(const std::vector<float>& values, bool wide) {
  std::shared_ptr<void> memory;
  if (wide) {
    memory = send(values.data(), values.size() * sizeof(float));
  } else {
    std::vector<uint16_t> half(values.size());
    std::transform(values.begin(), values.end(), half.begin(), [](float f) { return float_to_half(f); });
    memory = send(half.data(), half.size() * sizeof(uint16_t));
  }
  bytes_ += std::ssize(values) * (wide ? 4 : 2);
  memory_.push_back(memory);
  return memory.get();
}

template <class T>
T* PackedMatrix::keep(int64_t n) {
  const auto bytes = static_cast<int64_t>(sizeof(T)) * n;
  memory_.push_back(backend_.allocate(static_cast<size_t>(bytes)));
  bytes_ += bytes;
  return static_cast<T*>(memory_.back().get());
}

void PackedMatrix::unpack(const PackedPlanes& p) {
  PackedView& v = view_;
  const auto words_of = [](const std::shared_ptr<void>& m) { return static_cast<const uint32_t*>(m.get()); };
  const std::shared_ptr<void> signs = send(p.signs.bytes.data(), p.signs.bytes.size());
  const std::shared_ptr<void> ids = send(p.ids.bytes.data(), p.ids.bytes.size());
  const std::shared_ptr<void> bits = send(p.salient_bits.data(), p.salient_bits.size());
  const SalientBits mask{p.salient_bits.empty() ? nullptr : words_of(bits), p.salient_pitch};

  auto* planes = keep<uint32_t>((1 + v.id_planes) * v.rows * v.words);
  v.planes = planes;
  const bool any_salient = !p.salient_values.empty();
  if (any_salient) {
    auto* begin = keep<int64_t>(v.rows + 1);
    v.salient_begin = begin;
    v.wide_columns = v.cols > std::numeric_limits<uint16_t>::max();
    void* columns = v.wide_columns ? static_cast<void*>(keep<uint32_t>(std::ssize(p.salient_values)))
                                   : static_cast<void*>(keep<uint16_t>(std::ssize(p.salient_values)));
    v.salient_columns = columns;
    Call call(backend_, "packed matrix: salient weights");
    call.launched(call.kernels().packed.count_weights(mask, v.rows, {0, v.cols}, true, begin, call.stream()));
    call.launched(call.kernels().packed.list_salient(mask, begin, v.rows, v.cols, columns, v.wide_columns, call.stream()));
    call.finish();
  }

  Call call(backend_, "packed matrix: planes");
  int8_kernel_ = choose_gemv(call.device().major, call.device().minor, v.rows, v.cols, v.block_columns).kernel;
  const PackedKernels& kernels = call.kernels().packed;
  auto* begin = call.scratch<int64_t>(v.rows + 1);
  int64_t sign_at = 0, id_at = 0;
  for (size_t k = 0; k < p.segments.size(); ++k) {
    const PackedPlanes::Segment& s = p.segments[k];
    const ColumnRange columns{s.first, s.count};
    const int64_t end = k + 1 == p.segments.size() ? 32 * v.words : s.first + s.count;
    const int64_t own = v.rows * s.count - count_salient(p, s.first, s.first + s.count);
    call.launched(kernels.count_weights(mask, v.rows, columns, false, begin, call.stream()));
    call.launched(kernels.unpack_planes({words_of(signs), p.signs.width, sign_at}, mask, begin, v.rows, columns, end, 1, planes,
                                        v.words, call.stream()));
    // Ids that are not stored are 0: the symbols of no column.
    const ColumnRange stored{s.first, s.has_ids ? s.count : 0};
    if (v.id_planes > 0)
      call.launched(kernels.unpack_planes({words_of(ids), p.ids.width, id_at}, mask, begin, v.rows, stored, end, v.id_planes,
                                          planes + v.rows * v.words, v.words, call.stream()));
    sign_at += own;
    if (s.has_ids) id_at += own;
  }
  call.finish();
}

void PackedMatrix::decode(View<float> out) const {
  shapes::require(out.rows == rows() && out.cols == cols(), "packed matrix: decode", "an output of the matrix's shape");
  Call call(backend_, "packed matrix: decode");
  const View<float> to = call.out(out);
  call.launched(call.kernels().packed.dequantize(view_, 0, rows(), to.data, to.ld, call.stream()));
  call.finish();
}

// y = A x for one vector on the device.
void PackedMatrix::product(Call& call, const float* x, float* y, Gemv kernel) const {
  const PackedKernels& k = call.kernels().packed;
  const auto scaled = [&](const float* from, const float* factor) {
    if (factor == nullptr) return from;
    auto* to = call.scratch<float>(cols());
    call.launched(k.scale_activations(from, factor, cols(), to, call.stream()));
    return static_cast<const float*>(to);
  };
  const float* salient_x = scaled(x, view_.column_factor);
  const float* plane_x = scaled(salient_x, view_.column_scale);
  if (kernel == Gemv::kSignFlip) {
    call.launched(k.gemv_signflip(view_, plane_x, salient_x, y, call.stream()));
    return;
  }
  QuantizedActivations q;
  q.planes = call.scratch<uint32_t>(kActivationPlanes * view_.words);
  q.sums = call.scratch<int32_t>(view_.words / 4);
  q.step = call.scratch<float>(1);
  call.launched(k.quantize_activations(plane_x, cols(), view_.words, q, call.stream()));
  const auto gemv = kernel == Gemv::kPopc ? k.gemv_popc : k.gemv_bmma;
  call.launched(gemv(view_, q, plane_x, salient_x, y, call.stream()));
}

void PackedMatrix::panels(Call& call, WeightView x, View<float> y) const {
  const int64_t height = std::clamp<int64_t>(options_.panel_weights / cols(), 1, rows());
  auto* panel = call.scratch<float>(height * cols());
  for (int64_t first = 0; first < rows(); first += height) {
    const int64_t count = std::min(height, rows() - first);
    call.launched(call.kernels().packed.dequantize(view_, first, count, panel, cols(), call.stream()));
    call.gemm(times_transposed({x.data, x.rows, x.cols, x.ld}, {panel, count, cols(), cols()}, y.data + first, y.ld));
  }
}

void PackedMatrix::multiply(WeightView x, View<float> y, Activations activations) const {
  if (x.rows < kPanelVectors) {
    multiply(x, y, activations == Activations::kFloat32 ? Gemv::kSignFlip : int8_kernel_);
    return;
  }
  shapes::require(x.cols == cols() && y.rows == x.rows && y.cols == rows(), "packed matrix: multiply",
                  "x: T x cols, y: T x rows");
  Call call(backend_, "packed matrix: multiply");
  const WeightView from = call.in(x);
  panels(call, from, call.out(y));
  call.finish();
}

void PackedMatrix::multiply(WeightView x, View<float> y, Gemv kernel) const {
  shapes::require(x.cols == cols() && y.rows == x.rows && y.cols == rows(), "packed matrix: multiply",
                  "x: T x cols, y: T x rows");
  shapes::require(kernel != Gemv::kPopc || view_.block_columns % kQuadColumns == 0, "packed matrix: multiply by popc",
                  "blocks of a multiple of 128 columns, or one block");
  shapes::require(kernel != Gemv::kTensorCore || view_.blocks == 1, "packed matrix: multiply on tensor cores",
                  "one block of scales");
  Call call(backend_, "packed matrix: multiply");
  const WeightView from = call.in(x);
  const View<float> to = call.out(y);
  for (int64_t t = 0; t < x.rows; ++t) {
    const Call::Scope vector(call);
    product(call, from.row(t), to.row(t), kernel);
  }
  call.finish();
}

}  // namespace sage::cuda
