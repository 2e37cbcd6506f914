// Bit strings, least significant bit first: bit k of the string is bit (k % 8) of byte (k / 8).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/util/errors.h"

namespace sage {

// Bits needed for values 0 .. values-1.
inline int bits_for(int64_t values) { return values <= 1 ? 0 : std::bit_width(static_cast<uint64_t>(values - 1)); }

[[noreturn]] inline void damaged_plane(const char* coder, const std::string& found, const std::string& expected) {
  throw ResourceError("{}: {}; expected {}; the packed file is damaged", coder, found, expected);
}

class BitWriter {
 public:
  explicit BitWriter(size_t expected_bytes = 0) { bytes_.reserve(expected_bytes); }
  // The lowest `bits` bits of v, bits <= 56; higher bits of v must be 0.
  void put(uint64_t v, int bits) {
    held_ |= v << count_;
    count_ += bits;
    while (count_ >= 8) {
      bytes_.push_back(static_cast<std::byte>(held_));
      held_ >>= 8;
      count_ -= 8;
    }
  }
  // Elias gamma code of v >= 1: small numbers are short.
  void put_gamma(uint64_t v) {
    const int width = std::bit_width(v);
    for (int i = 1; i < width; ++i)
      put(0, 1);
    put(1, 1);
    if (width > 1) put(v & ((uint64_t{1} << (width - 1)) - 1), width - 1);
  }
  // Pads with zero bits to a whole byte.
  std::vector<std::byte> finish() {
    if (count_ > 0) bytes_.push_back(static_cast<std::byte>(held_));
    held_ = 0;
    count_ = 0;
    return std::move(bytes_);
  }

 private:
  std::vector<std::byte> bytes_;
  uint64_t held_ = 0;
  int count_ = 0;
};

// Reads what BitWriter wrote; never past the end.
class BitReader {
 public:
  BitReader(std::span<const std::byte> bytes, const char* coder) : bytes_(bytes), coder_(coder) {}
  uint64_t get(int bits) {  // bits <= 56
    while (count_ < bits) {
      if (at_ == bytes_.size()) damaged_plane(coder_, "its bytes end early", "more bits");
      held_ |= static_cast<uint64_t>(bytes_[at_++]) << count_;
      count_ += 8;
    }
    const uint64_t v = held_ & ((uint64_t{1} << bits) - 1);
    held_ >>= bits;
    count_ -= bits;
    return v;
  }
  uint64_t get_gamma() {
    int width = 1;
    while (get(1) == 0)
      if (++width > 40) damaged_plane(coder_, "a number of more than 40 bits", "a frequency");
    return (uint64_t{1} << (width - 1)) | (width > 1 ? get(width - 1) : 0);
  }
  // Bytes begun so far. Bits left in the last one must be zero padding.
  size_t finish() {
    if (held_ != 0) damaged_plane(coder_, "set bits after its end", "zero padding");
    return at_;
  }

 private:
  std::span<const std::byte> bytes_;
  const char* coder_;
  size_t at_ = 0;
  uint64_t held_ = 0;
  int count_ = 0;
};

template <class T>
void append_little_endian(std::vector<std::byte>& out, T v) {
  for (size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<std::byte>(static_cast<uint64_t>(v) >> (8 * i)));
}
template <class T>
T read_little_endian(const std::byte* p) {
  uint64_t v = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    v |= static_cast<uint64_t>(p[i]) << (8 * i);
  return static_cast<T>(v);
}

}  // namespace sage
