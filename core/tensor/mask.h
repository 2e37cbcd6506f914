// Which weights of a matrix are salient, and which group each of the others belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sage {

// rows x cols bits, row-major; each row starts a new 64-bit word; bit j of a row is bit (j % 64) of word (j / 64).
// Bits past the last column are always 0.
class BitMask {
 public:
  BitMask() = default;
  BitMask(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), words_per_row_((cols + 63) / 64), words_(static_cast<size_t>(rows * words_per_row_)) {}

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t words_per_row() const { return words_per_row_; }
  uint64_t* row(int64_t i) { return words_.data() + i * words_per_row_; }
  const uint64_t* row(int64_t i) const { return words_.data() + i * words_per_row_; }
  bool test(int64_t i, int64_t j) const { return (row(i)[j >> 6] >> (j & 63)) & 1u; }
  void set(int64_t i, int64_t j) { row(i)[j >> 6] |= uint64_t{1} << (j & 63); }
  void reset(int64_t i, int64_t j) { row(i)[j >> 6] &= ~(uint64_t{1} << (j & 63)); }
  int64_t count() const;
  int64_t count_row(int64_t i) const;
  // All-ones word for word index w of a row: the bits of w that are real columns.
  uint64_t valid_bits(int64_t w) const {
    const int64_t left = cols_ - w * 64;
    return left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
  }
  friend bool operator==(const BitMask&, const BitMask&) = default;

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t words_per_row_ = 0;
  std::vector<uint64_t> words_;
};

// kNone: nothing is salient, no index is stored. kColumns: whole columns (one flag per column). kElements: any weight.
enum class MaskShape { kNone, kColumns, kElements };

class SaliencyMask {
 public:
  static SaliencyMask none(int64_t rows, int64_t cols);
  static SaliencyMask columns(int64_t rows, BitMask flags);  // flags: 1 x cols
  static SaliencyMask elements(BitMask bits);

  MaskShape shape() const { return shape_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t words_per_row() const { return bits_.words_per_row(); }
  // The salient bits of row i, whatever the shape (the same words for every row when whole columns are salient or nothing is).
  const uint64_t* row(int64_t i) const { return bits_.row(shape_ == MaskShape::kElements ? i : 0); }
  bool test(int64_t i, int64_t j) const { return (row(i)[j >> 6] >> (j & 63)) & 1u; }
  int64_t count() const;  // salient weights
  double ratio() const { return rows_ * cols_ == 0 ? 0.0 : static_cast<double>(count()) / static_cast<double>(rows_ * cols_); }
  const BitMask& bits() const { return bits_; }  // rows x cols, or 1 x cols for kNone and kColumns

 private:
  SaliencyMask(MaskShape shape, int64_t rows, BitMask bits);
  MaskShape shape_ = MaskShape::kNone;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  BitMask bits_;
};

// The weights one quantizer is responsible for: the salient ones, or all the others.
struct Selection {
  const SaliencyMask* mask = nullptr;
  bool salient = false;

  int64_t rows() const { return mask->rows(); }
  int64_t cols() const { return mask->cols(); }
  uint64_t word(int64_t i, int64_t w) const {
    const uint64_t bits = mask->row(i)[w];
    return salient ? bits : ~bits & mask->bits().valid_bits(w);
  }
  bool owns(int64_t i, int64_t j) const { return mask->test(i, j) == salient; }
  // True when every weight is owned (nothing to skip).
  bool all() const { return !salient && mask->shape() == MaskShape::kNone; }
  bool empty() const { return salient && mask->shape() == MaskShape::kNone; }
  int64_t count() const { return salient ? mask->count() : mask->rows() * mask->cols() - mask->count(); }
};

inline Selection unsalient_of(const SaliencyMask& mask) { return {&mask, false}; }
inline Selection salient_of(const SaliencyMask& mask) { return {&mask, true}; }

// At what granularity a group id exists. kSingle: one group. kRow: label[i]. kColumn: label[j].
// kRowBlock: one label per row and block of `block` columns, label[i * blocks_per_row + j / block]. kElement: element[i * cols + j].
enum class LabelShape { kSingle, kRow, kColumn, kRowBlock, kElement };

// Group ids of a matrix. Labels of salient weights exist but mean nothing (0 by convention).
// `implied`: the labels follow from position alone, so the decoder needs no plane for them.
struct GroupMap {
  LabelShape shape = LabelShape::kSingle;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t groups = 1;
  int64_t block = 0;     // kRowBlock: columns per block
  bool implied = true;
  std::vector<uint32_t> label;   // kRow, kColumn, kRowBlock
  std::vector<uint8_t> element;  // kElement: at most 256 groups

  int64_t blocks_per_row() const { return block > 0 ? (cols + block - 1) / block : 0; }
  uint32_t at(int64_t i, int64_t j) const {
    switch (shape) {
      case LabelShape::kSingle: return 0;
      case LabelShape::kRow: return label[static_cast<size_t>(i)];
      case LabelShape::kColumn: return label[static_cast<size_t>(j)];
      case LabelShape::kRowBlock: return label[static_cast<size_t>(i * blocks_per_row() + j / block)];
      case LabelShape::kElement: return element[static_cast<size_t>(i * cols + j)];
    }
    return 0;
  }
  static GroupMap single(int64_t rows, int64_t cols) {
    GroupMap g;
    g.rows = rows;
    g.cols = cols;
    return g;
  }
};

}  // namespace sage
