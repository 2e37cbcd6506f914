#include "core/model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/config/value.h"
#include "core/model/safetensors_header.h"
#include "core/model/widen.h"
#include "core/util/errors.h"
#include "core/util/file_kind.h"

namespace sage {

namespace {

struct DTypeRow {
  DType dtype;
  const char* name;
  uint64_t bytes;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kBool, "BOOL", 1},      {DType::kU8, "U8", 1},          {DType::kI8, "I8", 1},   {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E8M0, "F8_E8M0", 1}, {DType::kU16, "U16", 2}, {DType::kI16, "I16", 2},
    {DType::kF16, "F16", 2},        {DType::kBF16, "BF16", 2},      {DType::kU32, "U32", 4}, {DType::kI32, "I32", 4},
    {DType::kF32, "F32", 4},        {DType::kU64, "U64", 8},        {DType::kI64, "I64", 8}, {DType::kF64, "F64", 8},
    {DType::kC64, "C64", 8},
};
const DTypeRow& row_of(DType dtype) {
  for (const DTypeRow& r : kDTypes)
    if (r.dtype == dtype) return r;
  throw Error(ExitCode::kInternalError, "unknown dtype");
}

template <class T>
T read_at(const std::byte* p, int64_t i) {
  T v;  // payloads need not be aligned
  std::memcpy(&v, p + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return v;
}

}  // namespace

const char* dtype_name(DType dtype) { return row_of(dtype).name; }
uint64_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }
bool parse_dtype(std::string_view name, DType* out) {
  for (const DTypeRow& r : kDTypes)
    if (name == r.name) {
      *out = r.dtype;
      return true;
    }
  return false;
}

int64_t TensorInfo::elements() const {
  int64_t n = 1;
  for (int64_t d : shape)
    n *= d;  // parsing made sure that it fits
  return n;
}

std::string TensorInfo::shape_text() const { return fmt::format("[{}]", fmt::join(shape, ", ")); }

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), map_(std::make_unique<MappedFile>(path)), file_(map_->bytes()) {
  parse();
}

SafetensorsFile SafetensorsFile::from_memory(std::span<const std::byte> file, std::string name) {
  SafetensorsFile f;
  f.path_ = std::move(name);
  f.file_ = file;
  f.parse();
  return f;
}

void SafetensorsFile::parse() {
  const std::string_view head(reinterpret_cast<const char*>(file_.data()), std::min<size_t>(file_.size(), 512));
  // A header's length can look like another format's first bytes; the brace behind it settles that.
  if (head.size() < 9 || head[8] != '{') refuse_other_kind(head, file_.size(), path_, "a safetensors file");
  if (file_.size() < 8)
    throw ResourceError("{}: {} bytes; expected at least the 8-byte header length; the file is truncated or not safetensors",
                        path_, file_.size());
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | std::to_integer<uint64_t>(file_[static_cast<size_t>(i)]);
  if (length > kMaxSafetensorsHeader)
    throw ResourceError("{}: header of {} bytes; expected at most {}; the file is damaged or not safetensors", path_, length,
                        kMaxSafetensorsHeader);
  if (length > file_.size() - 8)
    throw ResourceError(
        "{}: header of {} bytes in a file of {}; expected the header inside the file; the file is truncated, fetch it again",
        path_, length, file_.size());
  header_bytes_ = 8 + length;
  const std::string_view json(reinterpret_cast<const char*>(file_.data()) + 8, length);
  SafetensorsHeader header = parse_safetensors_header(json, file_.size() - header_bytes_, path_);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i)
    by_name_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

const TensorInfo& SafetensorsFile::at(const std::string& name) const {
  if (const TensorInfo* t = find(name)) return *t;
  std::vector<std::string> names;
  for (const TensorInfo& t : tensors_)
    names.push_back(t.name);
  const std::string near = nearest_name(name, names);
  throw ResourceError("{}: no tensor {}; expected it among the file's {} tensors{}", path_, quoted_name(name), tensors_.size(),
                      near.empty() ? "" : fmt::format("; the nearest name is {}", quoted_name(near)));
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& t) const {
  return file_.subspan(header_bytes_ + t.begin, t.end - t.begin);
}

void SafetensorsFile::to_float(const TensorInfo& t, int64_t first, std::span<float> out, Finite finite) const {
  if (t.dtype != DType::kF32 && t.dtype != DType::kF16 && t.dtype != DType::kBF16)
    throw ResourceError("{}: tensor {}: dtype {}; expected F32, F16 or BF16; convert the checkpoint to one of them", path_,
                        quoted_name(t.name), dtype_name(t.dtype));
  const auto n = static_cast<int64_t>(out.size());
  if (first < 0 || n > t.elements() - first)
    throw Error(ExitCode::kInternalError,
                fmt::format("{}: elements [{}, {}) of {} asked for", quoted_name(t.name), first, first + n, t.elements()));
  const uint64_t width = dtype_bytes(t.dtype);
  const std::byte* from = bytes(t).data() + static_cast<uint64_t>(first) * width;
  constexpr int64_t kPiece = 8192;  // stays in the first-level cache between widening and the check
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t count = std::min(kPiece, n - at);
    const std::byte* src = from + static_cast<uint64_t>(at) * width;
    float* dst = out.data() + at;
    if (t.dtype == DType::kF32)
      std::memcpy(dst, src, static_cast<size_t>(count) * sizeof(float));
    else if (t.dtype == DType::kF16)
      widen_half(src, count, dst);
    else
      widen_bfloat16(src, count, dst);
    if (finite == Finite::kRequire && !all_finite(dst, count)) {
      int64_t bad = 0;
      while (std::isfinite(dst[bad]))
        ++bad;
      const int64_t index = first + at + bad;
      std::string place = fmt::format("element {}", index);
      if (t.shape.size() == 2) place = fmt::format("row {}, column {}", index / t.shape[1], index % t.shape[1]);
      throw ResourceError(
          "{}: tensor {}: {} at {}; expected finite numbers; the file is damaged or the model diverged in training", path_,
          quoted_name(t.name), std::isnan(dst[bad]) ? "NaN" : "infinity", place);
    }
  }
}

Matrix SafetensorsFile::load_matrix(const std::string& name, Finite finite) const {
  const TensorInfo& t = at(name);
  if (t.shape.size() != 2)
    throw ResourceError("{}: tensor {}: shape {}; expected two dimensions", path_, quoted_name(name), t.shape_text());
  Matrix m(t.shape[0], t.shape[1]);
  to_float(t, 0, {m.data(), static_cast<size_t>(m.size())}, finite);
  return m;
}

std::vector<float> SafetensorsFile::load_vector(const std::string& name, Finite finite) const {
  const TensorInfo& t = at(name);
  if (t.shape.size() != 1)
    throw ResourceError("{}: tensor {}: shape {}; expected one dimension", path_, quoted_name(name), t.shape_text());
  std::vector<float> v(static_cast<size_t>(t.shape[0]));
  to_float(t, 0, v, finite);
  return v;
}

std::vector<int64_t> SafetensorsFile::load_integers(const std::string& name) const {
  const TensorInfo& t = at(name);
  const std::byte* p = bytes(t).data();
  std::vector<int64_t> out(static_cast<size_t>(t.elements()));
  const auto fill = [&]<class T>(T) {
    for (size_t i = 0; i < out.size(); ++i) {
      const T v = read_at<T>(p, static_cast<int64_t>(i));
      if (std::is_same_v<T, uint64_t> && static_cast<uint64_t>(v) > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        throw ResourceError("{}: tensor {}: {} at element {}; expected a number below 2^63", path_, quoted_name(name), v, i);
      out[i] = static_cast<int64_t>(v);
    }
  };
  switch (t.dtype) {
    case DType::kU8: fill(uint8_t{}); break;
    case DType::kI8: fill(int8_t{}); break;
    case DType::kU16: fill(uint16_t{}); break;
    case DType::kI16: fill(int16_t{}); break;
    case DType::kU32: fill(uint32_t{}); break;
    case DType::kI32: fill(int32_t{}); break;
    case DType::kU64: fill(uint64_t{}); break;
    case DType::kI64: fill(int64_t{}); break;
    default:
      throw ResourceError("{}: tensor {}: dtype {}; expected an integer dtype", path_, quoted_name(name), dtype_name(t.dtype));
  }
  return out;
}

std::vector<double> SafetensorsFile::load_doubles(const std::string& name) const {
  const TensorInfo& t = at(name);
  std::vector<double> out(static_cast<size_t>(t.elements()));
  if (t.dtype == DType::kF64) {
    if (!out.empty()) std::memcpy(out.data(), bytes(t).data(), out.size() * sizeof(double));
  } else {
    std::vector<float> f(out.size());
    to_float(t, 0, f, Finite::kIgnore);
    std::copy(f.begin(), f.end(), out.begin());
  }
  return out;
}

void SafetensorsFile::release(const TensorInfo& t) const {
  if (map_ != nullptr) map_->release(header_bytes_ + t.begin, t.bytes());
}

}  // namespace sage
