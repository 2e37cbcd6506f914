// What is stored for a quantized matrix.
//
// Components emit *logical* planes (symbols, numbers, small integers) through a PlaneWriter; the engine passes them through
// coders and gets *stored* planes (bytes). Decoding sees only stored planes, through a PlaneReader. Nothing else crosses.
// A plane written in several calls is concatenated; the reader hands it back in the same order (column block by column block).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace sage {

// What a stored byte is for. The ledger adds up bytes by role.
enum class Role {
  kSign,          // sign bits of binarized weights
  kCode,          // integer codes of multi-bit weights
  kGroupIndex,    // which group a weight (or block) belongs to
  kSalientIndex,  // which weights are salient
  kScale,
  kOffset,        // means, zero points, shifts
  kCodebook,
  kTransform,     // what undoes a transform
  kHeader,        // per-matrix integers
};
const char* role_name(Role role);  // "signs", "codes", "group_index", "salient_index", "scales", "offsets", "codebook", "transform", "header"
std::vector<Role> all_roles();

// How scales and other real parameters are kept. kPacked: FP16, what a deployed file holds. kReference: FP32, as released code
// computes; for golden tests, and labelled wherever it is reported.
enum class Numerics { kPacked, kReference };
// The value a parameter has after it was stored: rounded to FP16 (kPacked) or unchanged.
float store_round(float v, Numerics numerics);

struct SymbolPlane {
  Role role = Role::kCode;
  int alphabet = 2;              // symbols are 0 .. alphabet-1, alphabet <= 256
  std::vector<uint8_t> symbols;
};
struct NumberPlane {
  Role role = Role::kScale;
  std::vector<float> values;
};

class PlaneWriter {
 public:
  explicit PlaneWriter(Numerics numerics) : numerics_(numerics) {}
  Numerics numerics() const { return numerics_; }

  // Names must be unique over the components of a slot. The engine sets a prefix for planes of the salient quantizer, so that one
  // quantizer may serve both slots.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  void symbols(const std::string& name, Role role, int alphabet, std::vector<uint8_t> s);
  void numbers(const std::string& name, Role role, std::span<const float> values);  // stored rounded by store_round
  void integer(const std::string& name, int64_t value);

  const std::map<std::string, SymbolPlane>& symbol_planes() const { return symbols_; }
  const std::map<std::string, NumberPlane>& number_planes() const { return numbers_; }
  const std::map<std::string, std::vector<int64_t>>& integers() const { return integers_; }

 private:
  Numerics numerics_;
  std::string prefix_;
  std::map<std::string, SymbolPlane> symbols_;
  std::map<std::string, NumberPlane> numbers_;
  std::map<std::string, std::vector<int64_t>> integers_;
};

// One tensor of the packed file.
struct StoredPlane {
  std::string name;   // without the matrix prefix: "signs"
  Role role = Role::kCode;
  std::string dtype;  // safetensors dtype: "U8", "F16", "F32"
  std::vector<std::byte> bytes;
};

struct QuantizedMatrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<StoredPlane> planes;
};

// Hands planes back in the order they were written. Every call checks that enough is left; the error names plane and counts.
class PlaneReader {
 public:
  PlaneReader(std::map<std::string, SymbolPlane> symbols, std::map<std::string, NumberPlane> numbers,
              std::map<std::string, std::vector<int64_t>> integers, std::string matrix_name);
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }  // as the writer had it
  // The next `count` symbols; throws ResourceError if the plane is absent, shorter, or holds a symbol >= alphabet.
  std::span<const uint8_t> symbols(const std::string& name, int64_t count, int alphabet);
  std::span<const float> numbers(const std::string& name, int64_t count);
  int64_t integer(const std::string& name, int64_t low, int64_t high);  // range-checked: files may be hostile
  bool has_integer(const std::string& name) const { return integers_.count(prefix_ + name) > 0; }
  void expect_consumed() const;  // everything was read: a file with left-over symbols is not ours

 private:
  std::map<std::string, SymbolPlane> symbols_;
  std::map<std::string, NumberPlane> numbers_;
  std::map<std::string, std::vector<int64_t>> integers_;
  std::map<std::string, size_t> symbol_at_, number_at_, integer_at_;
  std::string matrix_, prefix_;
};

}  // namespace sage
