#include "core/strategy/planes.h"

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"
#include "core/util/half.h"

namespace sage {

const char* role_name(Role role) {
  switch (role) {
    case Role::kSign: return "signs";
    case Role::kCode: return "codes";
    case Role::kGroupIndex: return "group_index";
    case Role::kSalientIndex: return "salient_index";
    case Role::kScale: return "scales";
    case Role::kOffset: return "offsets";
    case Role::kCodebook: return "codebook";
    case Role::kTransform: return "transform";
    case Role::kHeader: return "header";
  }
  return "?";
}

std::vector<Role> all_roles() {
  return {Role::kSign,   Role::kCode,     Role::kGroupIndex, Role::kSalientIndex, Role::kScale,
          Role::kOffset, Role::kCodebook, Role::kTransform,  Role::kHeader};
}

float store_round(float v, Numerics numerics) { return numerics == Numerics::kPacked ? round_to_half(v) : v; }

void PlaneWriter::symbols(const std::string& name, Role role, int alphabet, std::vector<uint8_t> s) {
  const auto refuse = [&](const std::string& found, const std::string& expected) {
    throw Error(ExitCode::kInternalError, fmt::format("plane '{}': {}; expected {}; correct the component that wrote it",
                                                      prefix_ + name, found, expected));
  };
  if (alphabet < 1 || alphabet > 256) refuse(fmt::format("an alphabet of {}", alphabet), "at most 256 symbols");
  const auto greatest = std::max_element(s.begin(), s.end());
  if (greatest != s.end() && *greatest >= alphabet)
    refuse(fmt::format("symbol {}", *greatest), fmt::format("symbols below {}", alphabet));
  SymbolPlane& p = symbols_[prefix_ + name];
  p.role = role;
  p.alphabet = std::max(p.symbols.empty() ? 2 : p.alphabet, alphabet);
  if (p.symbols.empty()) p.symbols = std::move(s);
  else p.symbols.insert(p.symbols.end(), s.begin(), s.end());
}

void PlaneWriter::numbers(const std::string& name, Role role, std::span<const float> values) {
  NumberPlane& p = numbers_[prefix_ + name];
  p.role = role;
  for (float v : values) {
    const float stored = store_round(v, numerics_);
    if (!std::isfinite(stored))
      throw Error(ExitCode::kInternalError,
                  fmt::format("plane '{}': number {} of its {} is {:g}, stored as {:g}; expected one that is finite as {}; correct the "
                              "component that wrote it",
                              prefix_ + name, p.values.size(), role_name(role), v, stored, numerics_ == Numerics::kPacked ? "FP16" : "FP32"));
    p.values.push_back(stored);
  }
}

void PlaneWriter::integer(const std::string& name, int64_t value) { integers_[prefix_ + name].push_back(value); }

PlaneReader::PlaneReader(std::map<std::string, SymbolPlane> symbols, std::map<std::string, NumberPlane> numbers,
                         std::map<std::string, std::vector<int64_t>> integers, std::string matrix_name)
    : symbols_(std::move(symbols)), numbers_(std::move(numbers)), integers_(std::move(integers)), matrix_(std::move(matrix_name)) {}

std::span<const uint8_t> PlaneReader::symbols(const std::string& plain_name, int64_t count, int alphabet) {
  if (count == 0) return {};
  const std::string name = prefix_ + plain_name;
  const auto it = symbols_.find(name);
  size_t& at = symbol_at_[name];
  const size_t have = it == symbols_.end() ? 0 : it->second.symbols.size() - at;
  if (count < 0 || have < static_cast<size_t>(count))
    throw ResourceError("{}: plane '{}' has {} symbols left; expected {}; the packed file is damaged or of another version", matrix_, name, have, count);
  const std::span<const uint8_t> out(it->second.symbols.data() + at, static_cast<size_t>(count));
  for (uint8_t s : out)
    if (s >= alphabet)
      throw ResourceError("{}: plane '{}' holds symbol {}; expected symbols below {}; the packed file is damaged", matrix_, name, s, alphabet);
  at += static_cast<size_t>(count);
  return out;
}

std::span<const float> PlaneReader::numbers(const std::string& plain_name, int64_t count) {
  if (count == 0) return {};
  const std::string name = prefix_ + plain_name;
  const auto it = numbers_.find(name);
  size_t& at = number_at_[name];
  const size_t have = it == numbers_.end() ? 0 : it->second.values.size() - at;
  if (count < 0 || have < static_cast<size_t>(count))
    throw ResourceError("{}: plane '{}' has {} numbers left; expected {}; the packed file is damaged or of another version", matrix_, name, have, count);
  const std::span<const float> out(it->second.values.data() + at, static_cast<size_t>(count));
  at += static_cast<size_t>(count);
  return out;
}

int64_t PlaneReader::integer(const std::string& plain_name, int64_t low, int64_t high) {
  const std::string name = prefix_ + plain_name;
  const auto it = integers_.find(name);
  size_t& at = integer_at_[name];
  if (it == integers_.end() || at >= it->second.size())
    throw ResourceError("{}: the header has no '{}'; expected one; the packed file is damaged or of another version", matrix_, name);
  const int64_t v = it->second[at++];
  if (v < low || v > high)
    throw ResourceError("{}: the header says {} = {}; expected {} .. {}; the packed file is damaged", matrix_, name, v, low, high);
  return v;
}

void PlaneReader::expect_consumed() const {
  const auto left = [](const auto& positions, const std::string& name) {
    const auto it = positions.find(name);
    return it == positions.end() ? size_t{0} : it->second;
  };
  for (const auto& [name, p] : symbols_)
    if (left(symbol_at_, name) != p.symbols.size())
      throw ResourceError("{}: plane '{}' holds more symbols than its recipe reads; expected {}; the packed file is damaged", matrix_, name, left(symbol_at_, name));
  for (const auto& [name, p] : numbers_)
    if (left(number_at_, name) != p.values.size())
      throw ResourceError("{}: plane '{}' holds more numbers than its recipe reads; expected {}; the packed file is damaged", matrix_, name, left(number_at_, name));
}

}  // namespace sage
