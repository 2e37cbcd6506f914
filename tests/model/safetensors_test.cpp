// Well-formed and hostile safetensors files.
#include "core/model/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/util/errors.h"
#include "core/util/half.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

std::string file_of(const std::string& header, const std::string& payload, int64_t claimed_length = -1) {
  const uint64_t n = claimed_length < 0 ? header.size() : static_cast<uint64_t>(claimed_length);
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i)
    out[static_cast<size_t>(i)] = static_cast<char>(n >> (8 * i) & 0xff);
  return out + header + payload;
}

void parse(const std::string& file) { SafetensorsFile::from_memory(as_bytes(file), "t.safetensors"); }

// One tensor entry; every part can be spoiled.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, ReadsWhatTheFormatAllows) {
  const float values[3] = {1.5f, -2.0f, 0.25f};
  std::string payload(reinterpret_cast<const char*>(values), 12);
  payload += std::string("\x01\x02", 2);
  // Out of payload order, with metadata, an empty tensor, a scalar, and padding behind the object.
  const std::string file = file_of("{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "U8", "[2]", "[12,14]") + "," +
                                       entry("a", "F32", "[1,2]", "[0,8]") + "," + entry("empty", "F32", "[0,7]", "[14,14]") +
                                       "," + entry("scalar", "F32", "[]", "[8,12]") + "}   ",
                                   payload);
  const SafetensorsFile f = SafetensorsFile::from_memory(as_bytes(file), "t");
  ASSERT_EQ(f.tensors().size(), 4u);
  EXPECT_EQ(f.tensors()[0].name, "a");
  EXPECT_EQ(f.metadata().at("format"), "pt");
  EXPECT_EQ(f.header_bytes() + f.payload_bytes(), f.file_bytes());
  EXPECT_EQ(f.payload_bytes(), 14u);
  const Matrix a = f.load_matrix("a");
  EXPECT_EQ(a(0, 0), 1.5f);
  EXPECT_EQ(a(0, 1), -2.0f);
  EXPECT_EQ(f.load_matrix("empty").rows(), 0);
  EXPECT_EQ(f.load_doubles("scalar"), std::vector<double>{0.25});
  EXPECT_EQ(f.load_integers("b"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(f.at("b").shape_text(), "[2]");
}

TEST(Safetensors, WidensEveryHalfAndBfloat16Exactly) {
  std::string payload(2 * 65536, '\0');
  for (uint32_t h = 0; h < 65536; ++h) {
    payload[2 * h] = static_cast<char>(h & 0xff);
    payload[2 * h + 1] = static_cast<char>(h >> 8);
  }
  for (const std::string dtype : {"F16", "BF16"}) {
    const std::string file = file_of("{" + entry("t", dtype, "[65536]", "[0,131072]") + "}", payload);
    const SafetensorsFile f = SafetensorsFile::from_memory(as_bytes(file), "t");
    const std::vector<float> got = f.load_vector("t", Finite::kIgnore);
    for (uint32_t h = 0; h < 65536; ++h) {
      // The definition of the formats: (-1)^s 2^(e - bias) (1 + m / 2^p), with subnormals at e = 0.
      const int p = dtype == "F16" ? 10 : 7, exponent_bits = 15 - p, bias = (1 << (exponent_bits - 1)) - 1;
      const int e = static_cast<int>(h >> p) & ((1 << exponent_bits) - 1), m = static_cast<int>(h) & ((1 << p) - 1);
      const double sign = h >> 15 ? -1 : 1;
      if (e == (1 << exponent_bits) - 1) {
        if (m != 0)
          EXPECT_TRUE(std::isnan(got[h])) << dtype << " " << h;
        else
          EXPECT_EQ(got[h], sign * std::numeric_limits<double>::infinity()) << dtype << " " << h;
      } else {
        EXPECT_EQ(got[h], sign * std::ldexp(e == 0 ? m : m + (1 << p), (e == 0 ? 1 : e) - bias - p)) << dtype << " " << h;
      }
    }
    // A window that begins inside a vector register.
    std::vector<float> part(13);
    f.to_float(f.at("t"), 100, part, Finite::kIgnore);
    for (size_t i = 0; i < part.size(); ++i)
      EXPECT_EQ(part[i], got[100 + i]);
  }
}

TEST(Safetensors, RefusesEveryBrokenHeader) {
  const std::string four(4, '\0');
  struct Case {
    std::string file;
    std::vector<std::string> says;
  };
  const std::string good = "{" + entry("t", "F32", "[1]", "[0,4]") + "}";
  const std::vector<Case> cases = {
      {"", {"0 bytes"}},
      {"\1\2\3", {"3 bytes"}},
      {file_of(good, four, 1000), {"header of 1000 bytes", "truncated"}},
      {file_of(good, four, 100'000'001), {"header of 100000001 bytes", "100000000"}},
      {std::string(8, '\xff') + good + four, {"18446744073709551615"}},
      {file_of("", ""), {"does not begin with"}},
      {file_of(" " + good, four), {"does not begin with"}},
      {file_of("\xef\xbb\xbf" + good, four), {"does not begin with"}},
      {file_of("[]", ""), {"does not begin with"}},
      {file_of("{", ""), {"not valid JSON"}},
      {file_of(good + "x", four), {"not valid JSON"}},
      {file_of(good + "{}", four), {"not valid JSON"}},
      {file_of(good + std::string(2, '\0'), four), {"not valid JSON"}},
      {file_of("{\"\xc3\x28\":{}}", ""), {"not valid JSON"}},
      {file_of("{\"t\":1}", ""), {"'t'", "found 1"}},
      {file_of("{\"t\":null}", ""), {"'t'", "null"}},
      {file_of("{\"t\":[]}", ""), {"'t'", "an array"}},
      {file_of("{\"t\":{}}", ""), {"'t'", "incomplete"}},
      {file_of("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", four), {"incomplete"}},
      {file_of("{\"t\":{\"dtype\":{\"a\":{}},\"shape\":[1]}}", four), {"'dtype'", "an object"}},
      {file_of("{\"t\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", four), {"'shape'", "an array"}},
      {file_of("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", four), {"twice"}},
      {file_of("{\"t\":{\"dtype\":\"F32\",\"size\":1}}", four), {"field 'size'"}},
      {file_of("{\"t\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", four), {"4 for 'dtype'"}},
      {file_of("{" + entry("t", "F33", "[1]", "[0,4]") + "}", four), {"'t'", "'F33'", "BF16"}},
      {file_of("{" + entry("t", "f32", "[1]", "[0,4]") + "}", four), {"'f32'"}},
      {file_of("{" + entry("t", "F32", "[1]", "[0,4]") + "," + entry("t", "F32", "[0]", "[4,4]") + "}", four),
       {"'t'", "twice"}},
      {file_of("{" + entry("t", "F32", "[-1]", "[0,4]") + "}", four), {"-1"}},
      {file_of("{" + entry("t", "F32", "[1.0]", "[0,4]") + "}", four), {"'1.0'"}},
      {file_of("{" + entry("t", "F32", "[1e300]", "[0,4]") + "}", four), {"1e300"}},
      {file_of("{" + entry("t", "F32", "[18446744073709551616]", "[0,4]") + "}", four), {"18446744073709551616"}},
      {file_of("{" + entry("t", "F32", "[9223372036854775807]", "[0,4]") + "}", four), {"9223372036854775807"}},
      {file_of("{" + entry("t", "F32", "[4294967296,4294967296]", "[0,4]") + "}", four), {"overflows"}},
      {file_of("{" + entry("t", "F32", "[4611686018427387904,4]", "[0,0]") + "}", ""), {"overflows"}},  // 2^64 wraps to 0
      {file_of("{" + entry("t", "F32", "[2147483648,2147483648,2]", "[0,4]") + "}", four), {"overflows"}},
      {file_of("{" + entry("t", "F32", "[1099511627776]", "[0,4]") + "}", four),
       {"4 bytes of data", "expected 4398046511104 bytes"}},
      {file_of("{" + entry("t", "F32", "[2]", "[0,4]") + "}", four), {"expected 8 bytes"}},
      {file_of("{" + entry("t", "F16", "[1]", "[0,4]") + "}", four), {"F16", "expected 2 bytes"}},
      {file_of("{" + entry("t", "F32", "[0]", "[0,4]") + "}", four), {"expected 0 bytes"}},
      {file_of("{" + entry("t", "F32", "[2]", "[0,8]") + "}", four), {"outside the payload of 4 bytes", "truncated"}},
      {file_of("{" + entry("t", "F32", "[1]", "[4,0]") + "}", four), {"[4, 0]", "outside"}},
      {file_of("{" + entry("t", "F32", "[1]", "[0,4,8]") + "}", four), {"more than two"}},
      {file_of("{" + entry("t", "F32", "[1]", "[0]") + "}", four), {"incomplete"}},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[2,6]") + "}", four + "xx"),
       {"'b'", "overlap"}},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[0,4]") + "}", four), {"overlap"}},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[6,10]") + "}", four + four + "xx"),
       {"'b'", "hole"}},
      {file_of("{" + entry("a", "F32", "[1]", "[2,6]") + "}", four + "xx"), {"hole"}},
      {file_of("{" + entry("a", "F32", "[0]", "[2,2]") + "," + entry("b", "F32", "[1]", "[0,4]") + "}", four), {"overlap"}},
      {file_of(good, four + "x"), {"cover 4 bytes", "5 bytes"}},
      {file_of("{}", "x"), {"cover 0 bytes"}},
      {file_of("{\"__metadata__\":{\"a\":1}}", ""), {"__metadata__", "texts only"}},
      {file_of("{\"__metadata__\":{\"a\":{}}}", ""), {"__metadata__"}},
      {file_of("{\"__metadata__\":3}", ""), {"__metadata__"}},
      {file_of("{\"a\\u001b[31m\":7}", ""), {"\\x1b[31m"}},
      {file_of("{" +
                   entry("t", "U8",
                         "[1" + std::string(80, ' ') + ",1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
                         "[0,1]") +
                   "}",
               "x"),
       {"32 dimensions"}},
      {file_of("{\"t\":" + std::string(100000, '['), ""), {"an array"}},
      {file_of(
           "{\"t\":" +
               [] {
                 std::string s;
                 for (int i = 0; i < 50000; ++i)
                   s += "{\"a\":";
                 return s;
               }(),
           ""),
       {"'a'"}},
  };
  for (const Case& c : cases) {
    try {
      parse(c.file);
      ADD_FAILURE() << "accepted: " << c.file.substr(0, 200);
    } catch (const ResourceError& e) {
      for (const std::string& part : c.says)
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << c.file.substr(0, 200) << "\n  message: " << e.what();
      EXPECT_LT(std::strlen(e.what()), 600u);
    }
  }
  EXPECT_NO_THROW(parse(file_of(good, four)));
  EXPECT_NO_THROW(parse(file_of("{}", "")));
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string whole = slurp(model_folder("llama_gqa_tied_bf16") + "/model.safetensors");
  ASSERT_GT(whole.size(), 200000u);
  EXPECT_NO_THROW(parse(whole));
  for (size_t n = 0; n < whole.size(); n += n < 5000 ? 1 : 997)
    EXPECT_THROW(parse(whole.substr(0, n)), ResourceError) << n;
  EXPECT_THROW(parse(whole + '\0'), ResourceError);
}

TEST(Safetensors, SurvivesEveryBitFlipInTheHeader) {
  std::string file = slurp(model_folder("llama_bias_f16_sharded") + "/model-00001-of-00002.safetensors");
  const size_t header = SafetensorsFile::from_memory(as_bytes(file), "t").header_bytes();
  int refused = 0, accepted = 0;
  for (size_t i = 0; i < header; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      file[i] = static_cast<char>(file[i] ^ (1 << bit));
      try {
        // A flip inside a name leaves a sound file with another name; everything it points at must still be readable.
        const SafetensorsFile f = SafetensorsFile::from_memory(as_bytes(file), "t");
        for (const TensorInfo& t : f.tensors())
          EXPECT_LE(t.end, f.payload_bytes());
        ++accepted;
      } catch (const ResourceError&) {
        ++refused;
      }
      file[i] = static_cast<char>(file[i] ^ (1 << bit));
    }
  EXPECT_GT(refused, accepted);
  EXPECT_GT(accepted, 0);
}

TEST(Safetensors, NamesTensorAndPlaceOfNonFiniteWeights) {
  std::vector<float> w(3 * 20000, 0.5f);
  w[2 * 20000 + 123] = std::numeric_limits<float>::quiet_NaN();
  std::string payload(reinterpret_cast<const char*>(w.data()), w.size() * 4);
  std::string file = file_of("{" + entry("proj.weight", "F32", "[3,20000]", "[0,240000]") + "}", payload);
  SafetensorsFile f = SafetensorsFile::from_memory(as_bytes(file), "t");
  EXPECT_ERROR(ResourceError, f.load_matrix("proj.weight"), "proj.weight", "NaN at row 2, column 123");
  EXPECT_TRUE(std::isnan(f.load_matrix("proj.weight", Finite::kIgnore)(2, 123)));
  std::vector<float> row(20000);
  EXPECT_NO_THROW(f.to_float(f.at("proj.weight"), 0, row));
  EXPECT_ERROR(ResourceError, f.to_float(f.at("proj.weight"), 40000, row), "row 2, column 123");
  const std::string inf = file_of("{" + entry("v", "F16", "[2]", "[0,4]") + "}", std::string("\x00\x3c\x00\xfc", 4));
  EXPECT_ERROR(ResourceError, SafetensorsFile::from_memory(as_bytes(inf), "t").load_vector("v"), "infinity at element 1");
}

TEST(Safetensors, NamesWrongDtypesRanksAndNames) {
  const std::string file =
      file_of("{" + entry("model.norm.weight", "I32", "[1]", "[0,4]") + "," + entry("m", "F32", "[1,1]", "[4,8]") + "}",
              std::string(8, '\0'));
  const SafetensorsFile f = SafetensorsFile::from_memory(as_bytes(file), "t");
  EXPECT_ERROR(ResourceError, f.load_vector("model.norm.weight"), "model.norm.weight", "I32", "F32, F16 or BF16");
  EXPECT_ERROR(ResourceError, f.load_vector("m"), "'m'", "[1, 1]", "one dimension");
  EXPECT_ERROR(ResourceError, f.load_matrix("model.norm.weight"), "[1]", "two dimensions");
  EXPECT_ERROR(ResourceError, f.load_integers("m"), "F32", "integer");
  EXPECT_ERROR(ResourceError, f.at("model.norm.wieght"), "no tensor 'model.norm.wieght'",
               "nearest name is 'model.norm.weight'");
  EXPECT_ERROR(ResourceError, SafetensorsFile("/nonexistent/x.safetensors"), "/nonexistent/x.safetensors");
}

TEST(SafetensorsWriter, WritesTheBytesTheFormatPrescribes) {
  TemporaryFolder dir;
  const std::string codes = "abc", half("\x00\x3c", 2), empty;
  SafetensorsWriter w;
  w.add("codes", DType::kU8, {3}, as_bytes(codes));
  w.add("scale", DType::kF16, {1, 1}, as_bytes(half));
  w.add("none", DType::kF16, {0}, as_bytes(empty));
  w.set_metadata("format", "pt");
  const SafetensorsSizes planned = w.sizes();
  const SafetensorsSizes sizes = w.write(dir.file("w.safetensors"));
  std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"scale\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[0,2]},"
      "\"none\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[2,2]},"
      "\"codes\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(slurp(dir.file("w.safetensors")), file_of(header, half + codes));
  EXPECT_EQ(sizes.header_bytes, 8 + header.size());
  EXPECT_EQ(sizes.payload_bytes, 5u);
  EXPECT_EQ(planned.total(), sizes.total());
  EXPECT_EQ(std::filesystem::file_size(dir.file("w.safetensors")), sizes.total());
}

TEST(SafetensorsWriter, StreamsPiecesAndRoundTrips) {
  TemporaryFolder dir;
  const SafetensorsFile source(model_folder("llama_gqa_tied_bf16") + "/model.safetensors");
  SafetensorsWriter w;
  for (const TensorInfo& t : source.tensors())
    w.add(t.name, t.dtype, t.shape, [&source, &t](const ByteSink& sink) {
      const auto bytes = source.bytes(t);
      for (size_t at = 0; at < bytes.size(); at += 1000)
        sink(bytes.subspan(at, std::min<size_t>(1000, bytes.size() - at)));
    });
  w.write(dir.file("copy.safetensors"));
  const SafetensorsFile copy(dir.file("copy.safetensors"));
  ASSERT_EQ(copy.tensors().size(), source.tensors().size());
  for (const TensorInfo& t : source.tensors()) {
    const auto a = source.bytes(t), b = copy.bytes(t.name);
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << t.name;
    EXPECT_EQ(copy.at(t.name).shape, t.shape);
  }
}

TEST(SafetensorsWriter, LeavesNothingBehindWhenAProviderFails) {
  TemporaryFolder dir;
  for (const size_t given : {2u, 6u}) {
    const std::string bytes(given, 'x');
    SafetensorsWriter w;
    w.add("t", DType::kU8, {4}, as_bytes(bytes));
    EXPECT_THROW(w.write(dir.file("w.safetensors")), Error);
  }
  SafetensorsWriter broken;
  broken.add("t", DType::kU8, {4}, [](const ByteSink&) { throw ResourceError("source lost"); });
  EXPECT_ERROR(ResourceError, broken.write(dir.file("w.safetensors")), "source lost");
  SafetensorsWriter twice;
  const std::string b = "x";
  twice.add("t", DType::kU8, {1}, as_bytes(b));
  twice.add("t", DType::kU8, {1}, as_bytes(b));
  EXPECT_THROW(twice.write(dir.file("w.safetensors")), Error);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace sage
