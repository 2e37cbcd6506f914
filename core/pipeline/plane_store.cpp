#include "core/pipeline/plane_store.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/util/half.h"

namespace sage {
namespace {

using nlohmann::json;

// Header keys are short because the header is counted like everything else.
constexpr const char* kPlanes = "p";
constexpr const char* kIntegers = "i";
constexpr const char* kMask = "m";
constexpr const char* kAlternative = "a";

const StoredPlane* find(const QuantizedMatrix& q, const std::string& name) {
  for (const StoredPlane& p : q.planes)
    if (p.name == name) return &p;
  return nullptr;
}

[[noreturn]] void damaged(const std::string& matrix, const std::string& what, const std::string& expected) {
  throw ResourceError("{}: {}; expected {}; the packed file is damaged or of another version", matrix, what, expected);
}

}  // namespace

QuantizedMatrix store_planes(const Pipeline& pipeline, const PlaneWriter& writer, const SaliencyMask& mask, int alternative) {
  QuantizedMatrix q;
  q.rows = mask.rows();
  q.cols = mask.cols();
  json header;
  json& planes = header[kPlanes] = json::object();
  for (const auto& [name, p] : writer.symbol_planes()) {
    planes[name] = {static_cast<int>(p.role), p.alphabet, p.symbols.size()};
    q.planes.push_back({name, p.role, "U8", pipeline.coder(p.role).encode_symbols(p.symbols, p.alphabet)});
  }
  for (const auto& [name, p] : writer.number_planes()) {
    planes[name] = {static_cast<int>(p.role), 0, p.values.size()};
    StoredPlane s{name, p.role, writer.numerics() == Numerics::kPacked ? "F16" : "F32", {}};
    if (writer.numerics() == Numerics::kPacked) {
      s.bytes.resize(p.values.size() * 2);
      for (size_t i = 0; i < p.values.size(); ++i) {
        const uint16_t h = float_to_half(p.values[i]);
        std::memcpy(s.bytes.data() + 2 * i, &h, 2);
      }
    } else {
      s.bytes.resize(p.values.size() * 4);
      if (!p.values.empty()) std::memcpy(s.bytes.data(), p.values.data(), s.bytes.size());
    }
    q.planes.push_back(std::move(s));
  }
  if (mask.shape() != MaskShape::kNone) {
    q.planes.push_back({kSalientIndexPlane, Role::kSalientIndex, "U8", pipeline.salient_index_coder->encode_positions(mask.bits())});
    header[kMask] = static_cast<int>(mask.shape());
  }
  for (const auto& [name, values] : writer.integers()) header[kIntegers][name] = values.size() == 1 ? json(values[0]) : json(values);
  if (alternative != 0) header[kAlternative] = alternative;
  StoredPlane h{kHeaderPlane, Role::kHeader, "U8", {}};
  const std::string text = header.dump();
  h.bytes.resize(text.size());
  std::memcpy(h.bytes.data(), text.data(), text.size());
  q.planes.push_back(std::move(h));
  return q;
}

PlaneHeader read_plane_header(const QuantizedMatrix& packed, const std::string& matrix_name) {
  const StoredPlane* stored = find(packed, kHeaderPlane);
  if (stored == nullptr) damaged(matrix_name, "no 'header' plane", "one");
  constexpr size_t kMaxHeaderBytes = size_t{1} << 20;
  if (stored->bytes.size() > kMaxHeaderBytes) damaged(matrix_name, fmt::format("a header of {} bytes", stored->bytes.size()), "at most 1 MiB");
  const auto* begin = reinterpret_cast<const char*>(stored->bytes.data());
  const json header = json::parse(begin, begin + stored->bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object() || !header.contains(kPlanes) || !header[kPlanes].is_object())
    damaged(matrix_name, "a header that is not a JSON map of planes", "one");
  PlaneHeader out;
  // Hostile counts must not make the loader allocate: no plane has more entries than a few per weight and row.
  const int64_t most = 4 * packed.rows * packed.cols + 4 * (packed.rows + packed.cols) + 1024;
  const int roles = static_cast<int>(all_roles().size());
  for (const auto& [name, entry] : header[kPlanes].items()) {
    if (!entry.is_array() || entry.size() != 3 || !entry[0].is_number_integer() || !entry[1].is_number_integer() || !entry[2].is_number_integer())
      damaged(matrix_name, fmt::format("a bad header entry for plane '{}'", name), "[role, alphabet, count]");
    const auto role = entry[0].get<int64_t>(), alphabet = entry[1].get<int64_t>(), count = entry[2].get<int64_t>();
    if (role < 0 || role >= roles || alphabet < 0 || alphabet > 256 || count < 0 || count > most)
      damaged(matrix_name, fmt::format("plane '{}' has role {}, alphabet {}, count {}", name, role, alphabet, count),
              fmt::format("role below {}, alphabet at most 256, count at most {}", roles, most));
    out.planes[name] = {static_cast<Role>(role), static_cast<int>(alphabet), count};
  }
  if (const auto it = header.find(kIntegers); it != header.end()) {
    if (!it->is_object()) damaged(matrix_name, "header integers that are not a map", "a map");
    for (const auto& [name, v] : it->items()) {
      std::vector<int64_t>& list = out.integers[name];
      if (v.is_number_integer()) list.push_back(v.get<int64_t>());
      else if (v.is_array())
        for (const json& x : v) {
          if (!x.is_number_integer()) damaged(matrix_name, fmt::format("header integer '{}' is not a number", name), "integers");
          list.push_back(x.get<int64_t>());
        }
      else damaged(matrix_name, fmt::format("header integer '{}' is not a number", name), "integers");
    }
  }
  const auto small = [&](const char* key, int64_t high) -> int {
    const auto it = header.find(key);
    if (it == header.end()) return 0;
    if (!it->is_number_integer() || it->get<int64_t>() < 0 || it->get<int64_t>() > high)
      damaged(matrix_name, fmt::format("header entry '{}' is {}", key, it->dump()), fmt::format("0 .. {}", high));
    return it->get<int>();
  };
  out.mask_shape = static_cast<MaskShape>(small(kMask, 2));
  out.alternative = small(kAlternative, 4095);
  return out;
}

PlaneReader load_planes(const Pipeline& pipeline, const PlaneHeader& header, const QuantizedMatrix& packed, const std::string& matrix_name) {
  std::map<std::string, SymbolPlane> symbols;
  std::map<std::string, NumberPlane> numbers;
  for (const auto& [name, entry] : header.planes) {
    const StoredPlane* stored = find(packed, name);
    if (stored == nullptr) damaged(matrix_name, fmt::format("no plane '{}'", name), "the planes its header lists");
    if (entry.alphabet > 0) {
      SymbolPlane p{entry.role, entry.alphabet, std::vector<uint8_t>(static_cast<size_t>(entry.count))};
      try {
        pipeline.coder(entry.role).decode_symbols(stored->bytes, entry.alphabet, p.symbols);
      } catch (const ResourceError& e) {
        throw ResourceError("{}.{}: {}", matrix_name, name, e.what());
      }
      symbols.emplace(name, std::move(p));
    } else {
      const size_t width = stored->dtype == "F16" ? 2 : stored->dtype == "F32" ? 4 : 0;
      if (width == 0 || stored->bytes.size() != width * static_cast<size_t>(entry.count))
        damaged(matrix_name, fmt::format("plane '{}' holds {} bytes of {}", name, stored->bytes.size(), stored->dtype),
                fmt::format("{} numbers of F16 or F32", entry.count));
      NumberPlane p{entry.role, std::vector<float>(static_cast<size_t>(entry.count))};
      for (size_t i = 0; i < p.values.size(); ++i) {
        if (width == 2) {
          uint16_t h;
          std::memcpy(&h, stored->bytes.data() + 2 * i, 2);
          p.values[i] = half_to_float(h);
        } else {
          std::memcpy(&p.values[i], stored->bytes.data() + 4 * i, 4);
        }
      }
      numbers.emplace(name, std::move(p));
    }
  }
  return PlaneReader(std::move(symbols), std::move(numbers), header.integers, matrix_name);
}

SaliencyMask load_mask(const Pipeline& pipeline, const PlaneHeader& header, const QuantizedMatrix& packed, const std::string& matrix_name) {
  if (header.mask_shape == MaskShape::kNone) return SaliencyMask::none(packed.rows, packed.cols);
  const StoredPlane* stored = find(packed, kSalientIndexPlane);
  if (stored == nullptr) damaged(matrix_name, "no 'salient_index' plane", "one, because its header says weights are salient");
  const int64_t rows = header.mask_shape == MaskShape::kElements ? packed.rows : 1;
  try {
    BitMask bits = pipeline.salient_index_coder->decode_positions(stored->bytes, rows, packed.cols);
    return header.mask_shape == MaskShape::kElements ? SaliencyMask::elements(std::move(bits)) : SaliencyMask::columns(packed.rows, std::move(bits));
  } catch (const ResourceError& e) {
    throw ResourceError("{}.{}: {}", matrix_name, kSalientIndexPlane, e.what());
  }
}

}  // namespace sage
