// Reading and writing safetensors files: 8 bytes header length (little-endian), a JSON header, then the payload of all tensors.
//
// A file is taken only if it is exactly what the format says (https://github.com/huggingface/safetensors): the header is one
// JSON object inside the file, names are unique, each dtype is known, each tensor's byte range equals shape x dtype, and the
// ranges tile the payload without overlap, hole or rest. Everything else is a ResourceError that names file and tensor; nothing
// is allocated before the sizes are known to fit the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor/view.h"
#include "core/util/files.h"

namespace sage {

enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64,
  kC64
};
const char* dtype_name(DType dtype);  // "F16"
uint64_t dtype_bytes(DType dtype);    // 2
bool parse_dtype(std::string_view name, DType* out);

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // [] is a scalar; a 0 makes an empty tensor
  uint64_t begin = 0;          // byte range inside the payload
  uint64_t end = 0;

  int64_t elements() const;
  uint64_t bytes() const { return end - begin; }
  std::string shape_text() const;  // "[320, 64]"
};

// What a weight may be. kRequire: NaN or infinity is a ResourceError that names tensor and position.
enum class Finite { kRequire, kIgnore };

class SafetensorsFile {
 public:
  // Memory-maps the file; pages come in when tensors are read.
  explicit SafetensorsFile(const std::string& path);
  // The bytes stay with the caller and must outlive the object. `name` stands for the path in messages.
  static SafetensorsFile from_memory(std::span<const std::byte> file, std::string name);
  SafetensorsFile(SafetensorsFile&&) noexcept = default;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept = default;

  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in payload order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has(const std::string& name) const { return by_name_.count(name) != 0; }
  const TensorInfo* find(const std::string& name) const;  // nullptr if absent
  const TensorInfo& at(const std::string& name) const;    // ResourceError with the nearest name if absent
  std::span<const std::byte> bytes(const std::string& name) const { return bytes(at(name)); }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;  // tensor: one of tensors()

  uint64_t header_bytes() const { return header_bytes_; }  // length field, header and padding
  uint64_t payload_bytes() const { return file_.size() - header_bytes_; }
  uint64_t file_bytes() const { return file_.size(); }

  // Elements [first, first + out.size()) of an F32, F16 or BF16 tensor, exactly widened to float. Other dtypes are a
  // ResourceError.
  void to_float(const TensorInfo& tensor, int64_t first, std::span<float> out, Finite finite = Finite::kRequire) const;
  Matrix load_matrix(const std::string& name, Finite finite = Finite::kRequire) const;              // exactly two dimensions
  std::vector<float> load_vector(const std::string& name, Finite finite = Finite::kRequire) const;  // exactly one dimension
  std::vector<int64_t> load_integers(const std::string& name) const;  // any integer dtype, any shape, flattened
  std::vector<double> load_doubles(const std::string& name) const;  // F64, F32, F16 or BF16, any shape, flattened; may hold NaN
  // The tensor's pages are no longer needed (they come back from disk when read again).
  void release(const TensorInfo& tensor) const;

 private:
  SafetensorsFile() = default;
  void parse();

  std::string path_;
  std::unique_ptr<MappedFile> map_;  // null: the caller's memory
  std::span<const std::byte> file_;
  uint64_t header_bytes_ = 0;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// Receives a tensor's bytes piece by piece, in order.
using ByteSink = std::function<void(std::span<const std::byte>)>;
// Hands all bytes of one tensor to the sink. Called once, while the file is written.
using ByteProvider = std::function<void(const ByteSink&)>;

struct SafetensorsSizes {
  uint64_t header_bytes = 0;  // length field, header and padding
  uint64_t payload_bytes = 0;
  uint64_t total() const { return header_bytes + payload_bytes; }
};

// Collects what is to be written, then streams it: one tensor's piece is in memory at a time.
class SafetensorsWriter {
 public:
  void add(std::string name, DType dtype, std::vector<int64_t> shape, ByteProvider provider);
  // The bytes stay with the caller until write() returns.
  void add(std::string name, DType dtype, std::vector<int64_t> shape, std::span<const std::byte> bytes);
  void set_metadata(std::string key, std::string value) { metadata_[std::move(key)] = std::move(value); }

  // Sizes of the file that write() would make.
  SafetensorsSizes sizes() const;
  // Payload order: widest dtype first, then the order of add(), as the official library does, so that each tensor is aligned to
  // its dtype. The header is padded with spaces to a multiple of 8 bytes. Written under a temporary name, so a failure leaves
  // nothing behind. A provider that gives too few or too many bytes is an error.
  SafetensorsSizes write(const std::string& path) const;

 private:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    uint64_t bytes;
    ByteProvider provider;
  };
  std::vector<const Entry*> payload_order() const;
  std::string header(const std::vector<const Entry*>& order) const;

  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace sage
