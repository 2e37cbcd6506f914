#include "core/model/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/util/errors.h"

namespace sage {

namespace {

constexpr size_t kMaxRank = 32;

using Json = nlohmann::json;

// The header is at most {name: {field: [numbers]}}, so three levels are all there is; the parser itself does not recurse.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(SafetensorsHeader& out, const std::string& path) : out_(out), path_(path) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t v) override { return unexpected(fmt::format("{}", v)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(quoted_name(text)); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t v) override {
    if (level_ != Level::kArray) return unexpected(fmt::format("{}", v));
    if (v > uint64_t{1} << 62) fail(fmt::format("{} in {}", v, field_), "a number below 2^62");
    if (field_ == "shape") {
      if (tensor_.shape.size() == kMaxRank) fail("more than 32 dimensions", "at most 32");
      tensor_.shape.push_back(static_cast<int64_t>(v));
    } else {
      if (offsets_ == 2) fail("more than two data_offsets", "[begin, end]");
      (offsets_++ == 0 ? tensor_.begin : tensor_.end) = v;
    }
    return true;
  }

  bool string(string_t& v) override {
    if (level_ == Level::kMetadata) {
      if (!out_.metadata.emplace(field_, v).second)
        fail(fmt::format("metadata key {} twice", quoted_name(field_)), "unique keys");
      return true;
    }
    if (level_ != Level::kTensor || field_ != "dtype") return unexpected(fmt::format("the text {}", quoted_name(v)));
    if (!parse_dtype(v, &tensor_.dtype))
      fail(fmt::format("dtype {}", quoted_name(v)), "a dtype of the safetensors format, e.g. F32, F16, BF16");
    return true;
  }

  bool start_object(std::size_t) override {
    if (level_ == Level::kOutside) {
      level_ = Level::kTop;
    } else if (level_ == Level::kTop) {
      level_ = name_ == "__metadata__" ? Level::kMetadata : Level::kTensor;
      tensor_ = {};
      tensor_.name = name_;
      offsets_ = 0;
      has_dtype_ = has_shape_ = has_offsets_ = false;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(string_t& v) override {
    if (level_ == Level::kTop) {
      name_ = v;
      if (!names_.insert(v).second) fail("the name twice", "unique tensor names");
      return true;
    }
    field_ = v;
    if (level_ == Level::kTensor) {
      bool* seen = v == "dtype" ? &has_dtype_ : v == "shape" ? &has_shape_ : v == "data_offsets" ? &has_offsets_ : nullptr;
      if (seen == nullptr) fail(fmt::format("field {}", quoted_name(v)), "dtype, shape and data_offsets only");
      if (*seen) fail(fmt::format("field {} twice", v), "each field once");
      *seen = true;
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::kTop) {
      level_ = Level::kDone;
      return true;
    }
    if (level_ == Level::kTensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_ || offsets_ != 2)
        fail("an incomplete entry", "dtype, shape and two data_offsets");
      out_.tensors.push_back(std::move(tensor_));
    }
    level_ = Level::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (level_ != Level::kTensor || (field_ != "shape" && field_ != "data_offsets")) return unexpected("an array");
    level_ = Level::kArray;
    return true;
  }
  bool end_array() override {
    level_ = Level::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw ResourceError(
        "{}: the header is not valid JSON at byte {}; expected one UTF-8 JSON object; the file is damaged, fetch it again",
        path_, position + 8);
  }

 private:
  enum class Level { kOutside, kTop, kTensor, kMetadata, kArray, kDone };

  [[noreturn]] void fail(const std::string& found, const std::string& expected) {
    throw ResourceError("{}: tensor {}: found {}; expected {}; the file is damaged or not a safetensors file, fetch it again",
                        path_, quoted_name(name_), found, expected);
  }
  bool unexpected(const std::string& found) {
    if (level_ == Level::kOutside)
      throw ResourceError("{}: the header is {}; expected one JSON object; the file is damaged, fetch it again", path_, found);
    if (level_ == Level::kMetadata) fail(fmt::format("{} in __metadata__", found), "texts only");
    fail(level_ == Level::kTop ? found : fmt::format("{} for {}", found, quoted_name(field_)),
         level_ == Level::kTop ? "an object with dtype, shape and data_offsets"
                               : "dtype as text, shape and data_offsets as lists of numbers");
  }

  SafetensorsHeader& out_;
  const std::string& path_;
  std::unordered_set<std::string> names_;
  Level level_ = Level::kOutside;
  std::string name_, field_;
  TensorInfo tensor_;
  int offsets_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

}  // namespace

std::string quoted_name(std::string_view name) {
  constexpr size_t kShown = 120;
  std::string out = "'";
  for (size_t i = 0; i < std::min(name.size(), kShown); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    if (c < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", c);
    else
      out += name[i];
  }
  return out + (name.size() > kShown ? "...'" : "'");
}

bool tensor_bytes(const std::vector<int64_t>& shape, DType dtype, uint64_t* out) {
  uint64_t n = dtype_bytes(dtype);
  for (int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(n, static_cast<uint64_t>(d), &n) || n > uint64_t{1} << 62) return false;
  *out = n;
  return true;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t payload_bytes, const std::string& path) {
  // The JSON library would skip a byte order mark or leading white space; the format has neither.
  if (json.empty() || json.front() != '{')
    throw ResourceError(
        "{}: the header does not begin with '{{'; expected one JSON object; not a safetensors file, or a damaged one", path);
  // It would also take a NUL byte for the end of the text.
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos)
    throw ResourceError(
        "{}: the header is not valid JSON at byte {} (NUL); expected one UTF-8 JSON object; the file is damaged, fetch it "
        "again",
        path, nul + 8);
  SafetensorsHeader header;
  HeaderReader reader(header, path);
  Json::sax_parse(json.begin(), json.end(), &reader);

  for (const TensorInfo& t : header.tensors) {
    uint64_t bytes = 0;
    if (!tensor_bytes(t.shape, t.dtype, &bytes))
      throw ResourceError(
          "{}: tensor {}: shape {} of {} overflows; expected a size that fits the file; the file is damaged, fetch it again",
          path, quoted_name(t.name), t.shape_text(), dtype_name(t.dtype));
    if (t.begin > t.end || t.end > payload_bytes)
      throw ResourceError(
          "{}: tensor {}: data_offsets [{}, {}] lie outside the payload of {} bytes; the file is truncated or damaged, "
          "fetch it again",
          path, quoted_name(t.name), t.begin, t.end, payload_bytes);
    if (t.end - t.begin != bytes)
      throw ResourceError("{}: tensor {}: {} bytes of data for {} {}; expected {} bytes; the file is damaged, fetch it again",
                          path, quoted_name(t.name), t.end - t.begin, dtype_name(t.dtype), t.shape_text(), bytes);
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t covered = 0;
  for (const TensorInfo& t : header.tensors) {
    if (t.begin != covered)
      throw ResourceError(
          "{}: tensor {}: data_offsets [{}, {}] {}; expected to begin at {}; the file is damaged, fetch it again", path,
          quoted_name(t.name), t.begin, t.end, t.begin < covered ? "overlap another tensor" : "leave a hole before them",
          covered);
    covered = t.end;
  }
  if (covered != payload_bytes)
    throw ResourceError(
        "{}: the tensors cover {} bytes; expected all {} bytes of the payload; the file is damaged, fetch it again", path,
        covered, payload_bytes);
  return header;
}

}  // namespace sage
