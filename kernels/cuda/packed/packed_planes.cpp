#include "kernels/cuda/packed/packed_planes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/pipeline/group_labels.h"
#include "core/pipeline/pipeline_config.h"
#include "core/pipeline/plane_store.h"
#include "core/pipeline/segments.h"
#include "core/util/errors.h"

namespace sage::cuda {
namespace {

constexpr int64_t kWordColumns = 32;
constexpr int64_t kMostGroups = int64_t{1} << kMostIdPlanes;
constexpr const char* kSigns = "signs";
constexpr const char* kGroupIndex = "group_index";

enum class ScaleOf { kGroup, kRow, kRowGroup, kRank1 };

// One segment's groups as the layout has them: ids of single weights, or parameters that change with rows and column blocks.
struct SegmentGroups {
  GroupMap map;
  bool by_weight = false;     // labels of single weights
  int64_t block_columns = 0;  // columns with one label in every row; 0: the whole segment
};

class PlanesReader {
 public:
  PlanesReader(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name)
      : packed_(packed), name_(name), header_(read_plane_header(packed, name)) {
    if (header_.alternative >= factory.alternatives())
      throw ResourceError(
          "{}: its header asks for pipeline alternative {}; expected one of the recipe's {}; the packed file does not match "
          "its "
          "config.json",
          name, header_.alternative, factory.alternatives());
    recipe_ = pipeline_variants(factory.config())[static_cast<size_t>(header_.alternative)];
    pipeline_ = factory.make(header_.alternative);
    if (text("quantizer.type") != "binary")
      refuse("quantizer " + text("quantizer.type"), "quantizer binary", "measure it with decoded weights");
    const std::string& scale = text("quantizer.scale");
    scale_of_ = scale == "group"       ? ScaleOf::kGroup
                : scale == "row"       ? ScaleOf::kRow
                : scale == "row_group" ? ScaleOf::kRowGroup
                                       : ScaleOf::kRank1;
    shifted_ = text("quantizer.mean_shift") == "true";
    if (const std::string& t = text("transform.type"); t != "none" && t != "scale")
      refuse("transform " + t, "transform none or scale", "it mixes columns: measure it with decoded weights");
    if (pipeline_.scattered_segments())
      refuse("column_order activation with segments fitted on the way", "segments of neighbouring columns",
             "set segment_weights: cleaned, or column_order: natural");
  }

  PackedPlanes read() {
    const SaliencyMask mask = load_mask(pipeline_, header_, packed_, name_);
    PlaneReader reader = load_planes(pipeline_, header_, packed_, name_);
    PackedPlanes out;
    out.rows = packed_.rows;
    out.cols = packed_.cols;
    out.wide_numbers = pipeline_.numerics == Numerics::kReference;
    read_mask(mask, out);

    const std::vector<ColumnSet> sets = contiguous_segments(packed_.cols, pipeline_.scope.columns);
    std::vector<SegmentGroups> groups;
    std::vector<SaliencyMask> masks;
    for (const ColumnSet& set : sets) {
      masks.push_back(set.gather(mask));
      groups.push_back(read_groups(reader, set, masks.back(), out));
    }
    choose_blocks(sets, groups, out);
    read_parameters(reader, sets, groups, masks, out);
    read_signs(reader, masks, out);
    read_salient(reader, mask, out);
    read_transform(reader, out);
    reader.expect_consumed();
    return out;
  }

 private:
  [[noreturn]] void refuse(const std::string& found, const std::string& expected, const std::string& advice) const {
    throw UserError("{}: {} has no packed form on the device; expected {}; {}", name_, found, expected, advice);
  }
  const std::string& text(const char* path) const {
    const Value* v = recipe_.find_path(path);
    if (v == nullptr)
      throw Error(ExitCode::kInternalError, fmt::format("packed planes: '{}' is absent from a canonical section", path));
    return v->text();
  }
  std::vector<std::byte> stored(const std::string& plane) const {
    for (const StoredPlane& p : packed_.planes)
      if (p.name == plane) return p.bytes;
    return {};
  }
  static void append(std::vector<std::byte>& to, std::span<const uint8_t> symbols) {
    const auto bytes = std::as_bytes(symbols);
    to.insert(to.end(), bytes.begin(), bytes.end());
  }

  void read_mask(const SaliencyMask& mask, PackedPlanes& out) const {
    if (mask.shape() == MaskShape::kNone) return;
    const bool whole_columns = mask.shape() == MaskShape::kColumns;
    if (text("coder.salient_index.type") == "bitmap") {
      out.salient_bits = stored(kSalientIndexPlane);
      out.salient_pitch = whole_columns ? 0 : packed_.cols;
      return;
    }
    static_assert(std::endian::native == std::endian::little, "words of a mask are bytes in the order of their bits");
    const BitMask& bits = mask.bits();
    const auto words = std::as_bytes(std::span(bits.row(0), static_cast<size_t>(bits.rows() * bits.words_per_row())));
    out.salient_bits.assign(words.begin(), words.end());
    out.salient_pitch = whole_columns ? 0 : 64 * bits.words_per_row();
  }

  SegmentGroups read_groups(PlaneReader& reader, const ColumnSet& set, const SaliencyMask& mask, PackedPlanes& out) const {
    const int64_t count = reader.integer("groups", 1, pipeline_.grouping->max_groups(packed_.rows, set.size()));
    SegmentGroups g{pipeline_.grouping->layout(packed_.rows, set.size(), count)};
    if (count == 1) g.map = GroupMap::single(packed_.rows, set.size());
    // Ids of rows, when scales are the rows' own anyway, need no label but are in the file.
    const bool matters = scale_of_ == ScaleOf::kGroup || scale_of_ == ScaleOf::kRowGroup;
    if (g.map.shape == LabelShape::kElement) {
      g.by_weight = matters;
      if (matters && count > kMostGroups)
        refuse(fmt::format("grouping {} with {} groups", text("grouping.type"), count), fmt::format("at most {}", kMostGroups),
               "set grouping.groups lower");
      const std::span<const uint8_t> ids = reader.symbols(kGroupIndex, unsalient_of(mask).count(), static_cast<int>(count));
      if (matters && !raw("coder.group_index.type")) append(out.ids.bytes, ids);
    } else if (!g.map.implied) {
      fill_labels(g.map, unsalient_of(mask), reader);
    }
    if (!matters) g.map = GroupMap::single(packed_.rows, set.size());
    if (g.map.shape == LabelShape::kRowBlock) g.block_columns = g.map.block;
    if (g.map.shape == LabelShape::kColumn) {
      const std::vector<uint32_t>& label = g.map.label;
      g.block_columns = std::find_if(label.begin(), label.end(), [&](uint32_t l) { return l != label[0]; }) - label.begin();
      for (size_t j = 0; j < label.size(); ++j)
        if (label[j] != label[j / static_cast<size_t>(g.block_columns) * static_cast<size_t>(g.block_columns)])
          refuse("grouping " + text("grouping.type"), "groups of neighbouring columns", "use grouping positional");
    }
    if (g.block_columns >= set.size()) g.block_columns = 0;
    out.segments.push_back({set.first(), set.size(), g.by_weight});
    if (g.by_weight) {
      out.groups = std::max(out.groups, static_cast<int>(count));
      out.id_planes = std::bit_width(static_cast<unsigned>(out.groups - 1));
    }
    return g;
  }
  bool raw(const char* coder) const { return text(coder) == "raw"; }

  void choose_blocks(const std::vector<ColumnSet>& sets, const std::vector<SegmentGroups>& groups, PackedPlanes& out) const {
    if (sets.size() > 1 && pipeline_.scope.columns % kWordColumns != 0)
      refuse(fmt::format("segment_columns {}", pipeline_.scope.columns), "a multiple of 32", "set it so");
    const int64_t segment = sets.size() > 1 ? pipeline_.scope.columns : 0;
    int64_t block = 0;  // the narrowest; a last, narrower segment may have one block where the others have several
    for (const SegmentGroups& g : groups)
      if (g.block_columns > 0) block = g.block_columns;
    if (block % kWordColumns != 0 || (block > 0 && segment % block != 0))
      refuse(fmt::format("grouping {} with blocks of {} columns", text("grouping.type"), block),
             segment > 0 ? fmt::format("a multiple of 32 that divides segments of {}", segment) : "a multiple of 32",
             "set grouping.block so");
    out.block_columns = block > 0 ? block : segment;
    out.rows_differ = scale_of_ != ScaleOf::kGroup || std::any_of(groups.begin(), groups.end(), [](const SegmentGroups& g) {
                        return g.map.shape == LabelShape::kRow || g.map.shape == LabelShape::kRowBlock;
                      });
    const auto levels = static_cast<size_t>((out.rows_differ ? out.rows : 1) * out.blocks() * out.groups);
    out.scales.assign(levels, 0.0f);
    if (shifted_) out.shifts.assign(levels, 0.0f);
  }

  // Scales as the file has them, one per unit of `binary`, to one per row (where rows differ), block and group.
  void read_parameters(PlaneReader& reader, const std::vector<ColumnSet>& sets, const std::vector<SegmentGroups>& groups,
                       const std::vector<SaliencyMask>& masks, PackedPlanes& out) const {
    for (size_t k = 0; k < sets.size(); ++k) {
      const Selection own = unsalient_of(masks[k]);
      if (own.count() == 0) {
        if (scale_of_ == ScaleOf::kRank1)
          out.column_scale.resize(out.column_scale.size() + static_cast<size_t>(sets[k].size()));
        continue;  // nothing is stored
      }
      const std::vector<int64_t> rows = stored_rows(own);
      spread(reader.numbers("binary_scales", stored_count(groups[k], own)), sets[k], groups[k], rows, out, out.scales);
      if (scale_of_ == ScaleOf::kRank1) {
        const std::span<const float> column = reader.numbers("binary_scales", sets[k].size());
        out.column_scale.insert(out.column_scale.end(), column.begin(), column.end());
      }
      if (shifted_)
        spread(reader.numbers("binary_shifts", stored_count(groups[k], own)), sets[k], groups[k], rows, out, out.shifts);
    }
  }

  bool by_row() const { return scale_of_ != ScaleOf::kGroup; }
  int64_t per_row(const SegmentGroups& g) const { return scale_of_ == ScaleOf::kRowGroup ? g.map.groups : 1; }
  // Of each row: how many rows that own weights come before it; -1 for one that owns none (it stores nothing).
  static std::vector<int64_t> stored_rows(const Selection& own) {
    std::vector<int64_t> at(static_cast<size_t>(own.rows()), -1);
    int64_t next = 0;
    for (int64_t i = 0; i < own.rows(); ++i) {
      uint64_t any = 0;
      for (int64_t w = 0; w < own.mask->words_per_row(); ++w)
        any |= own.word(i, w);
      if (any != 0) at[static_cast<size_t>(i)] = next++;
    }
    return at;
  }
  int64_t stored_count(const SegmentGroups& g, const Selection& own) const {
    if (!by_row()) return g.map.groups;
    const std::vector<int64_t> rows = stored_rows(own);
    return (*std::max_element(rows.begin(), rows.end()) + 1) * per_row(g);
  }

  void spread(std::span<const float> numbers, const ColumnSet& set, const SegmentGroups& g,
              const std::vector<int64_t>& stored_row, const PackedPlanes& out, std::vector<float>& to) const {
    const int64_t width = out.block_columns > 0 ? out.block_columns : out.cols, blocks = out.blocks();
    for (int64_t i = 0; i < (out.rows_differ ? out.rows : 1); ++i) {
      const int64_t row = stored_row[static_cast<size_t>(i)];
      if (by_row() && row < 0) continue;
      const int64_t base = by_row() ? row * per_row(g) : 0;
      for (int64_t j = 0; j < set.size(); j += width) {
        const int64_t at = (i * blocks + (set.first() + j) / width) * out.groups;
        for (int64_t id = 0; id < (g.by_weight ? g.map.groups : 1); ++id) {
          const int64_t unit = g.by_weight ? id : g.map.at(i, j);
          to[static_cast<size_t>(at + id)] = numbers[static_cast<size_t>(base + unit)];
        }
      }
    }
  }

  void read_signs(PlaneReader& reader, const std::vector<SaliencyMask>& masks, PackedPlanes& out) const {
    for (const SaliencyMask& mask : masks) {
      const std::span<const uint8_t> signs = reader.symbols(kSigns, unsalient_of(mask).count(), 2);
      if (!raw("coder.signs.type")) append(out.signs.bytes, signs);
    }
    out.signs.width = out.ids.width = 8;
    if (raw("coder.signs.type")) out.signs = {stored(kSigns), 1};
    if (const auto ids = header_.planes.find(kGroupIndex);
        ids != header_.planes.end() && out.id_planes > 0 && raw("coder.group_index.type"))
      out.ids = {stored(kGroupIndex), static_cast<int>(std::bit_width(static_cast<unsigned>(ids->second.alphabet - 1)))};
  }

  void read_salient(PlaneReader& reader, const SaliencyMask& mask, PackedPlanes& out) const {
    if (mask.count() == 0) return;
    Matrix values(packed_.rows, packed_.cols);
    reader.set_prefix("salient_");
    for (const ColumnSet& set : contiguous_segments(packed_.cols, pipeline_.salient_scope.columns)) {
      const SaliencyMask part = set.gather(mask);
      if (part.count() > 0)
        pipeline_.salient_quantizer->decode(reader, salient_of(part), GroupMap::single(packed_.rows, set.size()),
                                            values.view().columns(set.first(), set.first() + set.size()));
    }
    reader.set_prefix("");
    for (int64_t i = 0; i < packed_.rows; ++i)
      for (int64_t w = 0; w < mask.words_per_row(); ++w)
        for (uint64_t bits = mask.row(i)[w]; bits != 0; bits &= bits - 1)
          out.salient_values.push_back(values(i, 64 * w + std::countr_zero(bits)));
  }

  void read_transform(PlaneReader& reader, PackedPlanes& out) const {
    if (text("transform.type") != "scale") return;
    const std::span<const float> rows = reader.numbers("scale_rows", packed_.rows);
    out.row_factor.assign(rows.begin(), rows.end());
    if (text("transform.mode") != "rank1") return;
    const std::span<const float> columns = reader.numbers("scale_columns", packed_.cols);
    out.column_factor.assign(columns.begin(), columns.end());
  }

  const QuantizedMatrix& packed_;
  const std::string& name_;
  PlaneHeader header_;
  Value recipe_;
  Pipeline pipeline_;
  ScaleOf scale_of_ = ScaleOf::kGroup;
  bool shifted_ = false;
};

}  // namespace

PackedPlanes read_packed_planes(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name) {
  return PlanesReader(factory, packed, name).read();
}

}  // namespace sage::cuda
