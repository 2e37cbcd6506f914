// Coding of columns on the device. The host says which of two codes each weight has (a bit) and its group where groups are of
// single weights (a byte): both for the columns of the block only.
#include <algorithm>
#include <array>
#include <vector>

#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

const Selection& selection(const BlockCoding& block, int code) { return block.codes[static_cast<size_t>(code)].own; }

// Which weights of the block are coded in the second slot.
class SecondSlot {
 public:
  SecondSlot(const BlockCoding& block, int64_t rows) : block_(block), k_(static_cast<int64_t>(block.columns.size())) {
    bool by_row = false;
    for (const auto& slots : block.columns) {
      any_ = any_ || slots[1].code >= 0;
      for (const CodedColumn& s : slots)
        by_row = by_row || (s.code >= 0 && selection(block, s.code).mask->shape() == MaskShape::kElements);
    }
    if (!any_) return;
    bits_ = BitMask(by_row ? rows : 1, k_);
#pragma omp parallel for schedule(static) if (bits_.rows() > 64)
    for (int64_t i = 0; i < bits_.rows(); ++i)
      fill(i);
  }
  bool any() const { return any_; }
  View<const uint64_t> words() const { return {bits_.row(0), bits_.rows(), bits_.words_per_row()}; }

 private:
  void fill(int64_t i) {
    uint64_t* to = bits_.row(i);
    for (int64_t c = 0; c < k_;) {
      // Columns that stand side by side in one fit: 64 bits of its mask at a time.
      const auto& slots = block_.columns[static_cast<size_t>(c)];
      const size_t slot = slots[0].code >= 0 ? 0 : 1;
      const CodedColumn& first = slots[slot];
      int64_t last = c + 1;
      const auto continues = [&](int64_t d) {
        const auto& other = block_.columns[static_cast<size_t>(d)];
        return (slot == 0 || other[0].code < 0) && other[slot].code == first.code &&
               other[slot].column == first.column + (d - c);
      };
      while (last < k_ && first.code >= 0 && continues(last))
        ++last;
      if (first.code >= 0) {
        const Selection& own = selection(block_, first.code);
        const uint64_t* from = own.mask->row(i);
        const uint64_t flip = (slot == 1) == own.salient ? 0 : ~uint64_t{0};  // owned by the first slot: not by the second
        for (int64_t n = 0; n < last - c; n += 64) {
          const int64_t count = std::min<int64_t>(64, last - c - n), bit = first.column + n, at = c + n;
          uint64_t word = from[bit >> 6] >> (bit & 63);
          if ((bit & 63) != 0 && (bit & 63) + count > 64) word |= from[(bit >> 6) + 1] << (64 - (bit & 63));
          word ^= flip;
          if (count < 64) word &= (uint64_t{1} << count) - 1;
          to[at >> 6] |= word << (at & 63);
          if ((at & 63) != 0 && (at & 63) + count > 64) to[(at >> 6) + 1] |= word >> (64 - (at & 63));
        }
      }
      c = last;
    }
  }

  const BlockCoding& block_;
  const int64_t k_;
  bool any_ = false;
  BitMask bits_;
};

// The labels of single weights, for the columns of the block. Empty when no code has such.
std::vector<uint8_t> weight_labels(const BlockCoding& block, int64_t rows) {
  struct Source {
    const uint8_t* labels = nullptr;  // of the column's first weight; null: not of single weights
    int64_t pitch = 0, groups = 0;
  };
  const auto k = static_cast<int64_t>(block.columns.size());
  std::vector<std::array<Source, 2>> sources(block.columns.size());
  std::array<bool, 2> any = {};
  for (size_t c = 0; c < sources.size(); ++c)
    for (size_t slot = 0; slot < 2; ++slot) {
      const CodedColumn& s = block.columns[c][slot];
      const GroupMap* map = s.code < 0 ? nullptr : block.codes[static_cast<size_t>(s.code)].units->map();
      if (map == nullptr || map->shape != LabelShape::kElement) continue;
      sources[c][slot] = {map->element.data() + s.column, map->cols, map->groups};
      any[slot] = true;
    }
  if (!any[0] && !any[1]) return {};
  std::vector<uint8_t> out(static_cast<size_t>(rows * k));
  bool inside = true;
#pragma omp parallel for schedule(static) reduction(&& : inside) if (rows > 64)
  for (int64_t i = 0; i < rows; ++i)
    for (size_t slot = 0; slot < 2; ++slot) {
      if (!any[slot]) continue;
      uint8_t* row = out.data() + i * k;
      for (int64_t c = 0; c < k; ++c) {
        const Source& from = sources[static_cast<size_t>(c)][slot];
        if (from.labels == nullptr) continue;
        const CodedColumn& s = block.columns[static_cast<size_t>(c)][slot];
        if (any[1 - slot] && !selection(block, s.code).owns(i, s.column)) continue;  // the label is the other slot's
        row[c] = from.labels[i * from.pitch];
        inside = inside && row[c] < from.groups;
      }
    }
  shapes::require(inside, "code_block", shapes::kLabelRule);
  return out;
}

// The codes and columns of a block in device memory. What single weights have is not in them.
class DeviceCodes {
 public:
  DeviceCodes(Call& call, const BlockCoding& block, int64_t rows) {
    for (const auto& slots : block.columns)
      columns_.push_back({{slots[0].code, slots[1].code}, {0, 0}, {0, 0}});
    for (size_t n = 0; n < block.codes.size(); ++n)
      add(call, block, n, rows);
    codes = call.in(std::span<const DeviceCode>(codes_));
    columns = call.in(std::span<const DeviceColumn>(columns_));
  }
  const DeviceCode* codes;
  const DeviceColumn* columns;

 private:
  void add(Call& call, const BlockCoding& block, size_t number, int64_t rows) {
    const ElementCode& c = block.codes[number];
    DeviceCode d{};
    d.kind = c.kind;
    d.planes = c.planes;
    d.keep_zero = c.keep_zero;
    d.merged = c.merged;
    d.plain = c.plain;
    d.midrise = c.midrise;
    d.shifted = c.shifted;
    d.largest = c.largest;
    d.offset = c.offset;
    d.parameters = call.in(c.parameters);
    d.stride = c.parameters_per_unit();
    d.row_units = c.units->by_row() ? c.units->per_row() : 0;
    const GroupMap* map = c.units->map();
    d.weight_labels = map != nullptr && map->shape == LabelShape::kElement;
    if (map != nullptr && (map->shape == LabelShape::kRow || map->shape == LabelShape::kRowBlock)) {
      const bool whole = map->shape == LabelShape::kRow;
      const int64_t blocks = whole ? 1 : map->blocks_per_row();
      int64_t first = blocks, last = -1;  // blocks of columns the block touches
      for_columns(block, number, [&](size_t, size_t, int64_t j) {
        first = std::min(first, whole ? 0 : j / map->block);
        last = std::max(last, whole ? 0 : j / map->block);
      });
      if (last >= first) {
        d.row_labels = call.in(View<const uint32_t>(map->label.data() + first, rows, last - first + 1, blocks)).data;
        d.row_label_step = last - first + 1;
        for_columns(block, number, [&](size_t at, size_t slot, int64_t j) {
          columns_[at].block[slot] = static_cast<uint32_t>((whole ? 0 : j / map->block) - first);
        });
      }
    } else if (map != nullptr && map->shape == LabelShape::kColumn) {
      for_columns(block, number,
                  [&](size_t at, size_t slot, int64_t j) { columns_[at].unit[slot] = map->label[static_cast<size_t>(j)]; });
    }
    codes_.push_back(d);
  }
  template <class F>
  static void for_columns(const BlockCoding& block, size_t number, F f) {
    for (size_t at = 0; at < block.columns.size(); ++at)
      for (size_t slot = 0; slot < 2; ++slot)
        if (block.columns[at][slot].code == static_cast<int>(number)) f(at, slot, block.columns[at][slot].column);
  }

  std::vector<DeviceCode> codes_;
  std::vector<DeviceColumn> columns_;
};

}  // namespace

void DeviceBackend::code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                               View<float> error) const {
  const int64_t planes = shapes::code_block(block, w, decoded, symbols, error);
  if (w.size() == 0) return;
  const SecondSlot second(block, w.rows);
  const std::vector<uint8_t> labels = weight_labels(block, w.rows);
  Call call(*this, "code_block");
  CodingArguments a{};
  a.w = call.in(w);
  const DeviceCodes codes(call, block, w.rows);
  a.codes = codes.codes;
  a.columns = codes.columns;
  if (second.any()) {
    const View<const uint64_t> words = call.in(second.words());
    a.second = words.data;
    a.row_words = words.rows > 1 ? words.cols : 0;
  }
  if (!labels.empty()) a.labels = call.in(View<const uint8_t>(labels.data(), w.rows, w.cols)).data;
  a.planes = static_cast<int>(planes);
  a.steps = std::ranges::any_of(block.codes, [](const ElementCode& c) { return c.kind == ElementCode::Kind::kSteps; });
  a.correction = block.correction;
  a.decoded = call.out(decoded);
  a.symbols = call.out(symbols);
  if (block.correction != Correction::kNone) {
    a.u = call.in(block.u);
    a.error = call.out(error);
  }
  call.launched(kernels_.coding.code_block(a, call.stream()));
  call.finish();
}

}  // namespace sage::cuda
