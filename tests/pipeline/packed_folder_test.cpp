// A packed directory as other programs see it, and the ordinary checkpoint that is made of it for them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/pipeline/export_checkpoint.h"
#include "core/pipeline/packed_config.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/half.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using nlohmann::json;
using test::same_bits;

constexpr const char* kRtn = "{quantizer: {type: uniform, bits: 8}}";
constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

class PackedFolder : public testing::Test {
 protected:
  PackedFolder() { setenv("SAGEPTQ_CACHE", folder_.file("cache").c_str(), 1); }
  ~PackedFolder() override { unsetenv("SAGEPTQ_CACHE"); }

  std::string path(const std::string& name) const { return folder_.file(name); }
  json config_of(const std::string& name) const { return json::parse(read_file(path(name) + "/config.json")); }
  void write_config(const std::string& name, const json& config) const {
    write_file_atomically(path(name) + "/config.json", config.dump());
  }
  std::string copy_of(const std::string& model, const std::string& name) const {
    std::filesystem::copy(model_folder(model), path(name), std::filesystem::copy_options::recursive);
    return path(name);
  }
  void quantize(const std::string& model, const std::string& name, const std::string& pipeline = kRtn,
                const std::function<bool(const std::string&)>& selects = {}) const {
    const CheckpointSource source(model);
    const PipelineFactory f = test::factory(pipeline);
    quantize_model({source, f, test::registries(), test::cpu(), 1, path(name), "", false, selects, {}, nullptr});
  }
  PackedSource open(const std::string& name) const { return {path(name), test::registries(), test::cpu()}; }
  // Replaces a tensor of a model's file by numbers of the same count.
  static void spoil(const std::string& folder, const std::string& tensor, const std::function<void(std::span<float>)>& change) {
    SafetensorsWriter w;
    std::vector<std::unique_ptr<std::string>> kept;
    {
      const TensorFiles files(folder);
      for (const auto& [name, place] : files.places()) {
        const auto bytes = place.file->bytes(*place.tensor);
        kept.push_back(std::make_unique<std::string>(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
        if (name == tensor) {
          std::vector<float> values(static_cast<size_t>(place.tensor->elements()));
          place.file->to_float(*place.tensor, 0, values);
          change(values);
          ASSERT_EQ(place.tensor->dtype, DType::kBF16);
          for (size_t i = 0; i < values.size(); ++i) {
            const uint16_t b = float_to_bfloat16(values[i]);
            kept.back()->replace(2 * i, 2, reinterpret_cast<const char*>(&b), 2);
          }
        }
        w.add(name, place.tensor->dtype, place.tensor->shape,
              std::as_bytes(std::span(kept.back()->data(), kept.back()->size())));
      }
    }
    w.write(folder + "/model.safetensors");
  }

  TemporaryFolder folder_;
};

TEST_F(PackedFolder, TellsOtherProgramsWhatToDo) {
  for (const char* model : {"llama_gqa_tied_bf16", "llama_head_dim", "opt"}) {
    SCOPED_TRACE(model);
    const std::string packed = std::string(model) + "-packed", exported = std::string(model) + "-exported";
    const json original = json::parse(slurp(model_folder(model) + "/config.json"));
    quantize(model_folder(model), packed);
    const json config = config_of(packed);
    // transformers names model_type where it knows none such, torch_dtype where torch has no such attribute. `dtype` would be
    // taken before torch_dtype.
    for (const json& words : {config.at("model_type"), config.at("torch_dtype"), config.at("architectures").at(0)})
      EXPECT_NE(words.get<std::string>().find("sageptq export"), std::string::npos);
    EXPECT_FALSE(config.contains("dtype"));
    EXPECT_EQ(config.at("quantization_config").at("quant_method"), "sage-ptq");
    // Here it is the model it was.
    const PackedSource source = open(packed);
    const ModelConfig before = parse_model_config(original.dump(), "config.json");
    EXPECT_EQ(source.config().model_type, before.model_type);
    EXPECT_EQ(source.config().torch_dtype, before.torch_dtype);
    EXPECT_EQ(source.config().architectures, before.architectures);
    export_dequantized(source, path(exported));
    EXPECT_EQ(config_of(exported), original);
    const CheckpointSource written(path(exported)), given(model_folder(model));
    for (const auto& [name, place] : written.tensor_files().places())
      EXPECT_EQ(place.tensor->dtype, given.tensor_files().at(name).tensor->dtype) << name;
    // As directories were written before: the keys in their places.
    json older = config;
    for (const char* key : kOriginalKeys) {
      older.erase(key);
      if (original.contains(key)) older[key] = original[key];
    }
    for (const char* key : {"original", "dtype", "dtypes"})
      older["quantization_config"].erase(key);
    write_config(packed, older);
    const PackedSource old = open(packed);
    for (const auto& [name, site] : source.sites())
      EXPECT_TRUE(same_bits(old.load_linear(name), source.load_linear(name)));
    export_dequantized(old, path(exported + "-old"));
    EXPECT_EQ(config_of(exported + "-old"), original);
    EXPECT_EQ(slurp(path(exported + "-old") + "/model.safetensors"), slurp(path(exported) + "/model.safetensors"));
  }
}

TEST_F(PackedFolder, KeepsTheDtypeOfEachMatrix) {
  const std::map<std::string, DType> mixed = {{"a", DType::kBF16}, {"b", DType::kF32}, {"c", DType::kBF16}};
  json q = json::object();
  write_source_dtypes(mixed, q);
  EXPECT_EQ(q, json::parse(R"({"dtype": "BF16", "dtypes": {"b": "F32"}})"));
  EXPECT_EQ(read_source_dtypes(q, "config.json"), (std::map<std::string, DType>{{"", DType::kBF16}, {"b", DType::kF32}}));
  EXPECT_TRUE(read_source_dtypes(json::object(), "config.json").empty());
  for (const char* bad : {R"({"dtype": "U8"})", R"({"dtype": 3})", R"({"dtypes": "F32"})", R"({"dtypes": {"a": "F8"}})"})
    EXPECT_ERROR(ResourceError, read_source_dtypes(json::parse(bad), "config.json"), "config.json",
                 "expected F16, BF16 or F32");
}

TEST_F(PackedFolder, ExportsAllTensorsInTheDtypeAskedFor) {
  quantize(model_folder("llama_gqa_tied_bf16"), "packed", kRtn, [](const std::string& n) { return n != kUp; });
  const PackedSource packed = open("packed");
  for (const auto& [dtype, torch] :
       {std::pair{DType::kF32, "float32"}, std::pair{DType::kF16, "float16"}, std::pair{DType::kBF16, "bfloat16"}}) {
    export_dequantized(packed, path(torch), dtype);
    EXPECT_EQ(config_of(torch).at("torch_dtype"), torch);
    const CheckpointSource s(path(torch));
    EXPECT_EQ(s.names(), packed.names());
    for (const std::string& name : s.names()) {
      EXPECT_EQ(s.tensor_files().at(name).tensor->dtype, dtype) << name;
      if (s.shape(name).size() != 2) continue;
      const Matrix a = packed.load_linear(name), b = s.load_linear(name);
      for (int64_t i = 0; i < a.size(); ++i) {
        const float v = a.data()[i];
        ASSERT_EQ(b.data()[i], dtype == DType::kF32   ? v
                               : dtype == DType::kF16 ? round_to_half(v)
                                                      : bfloat16_to_float(float_to_bfloat16(v)))
            << name;
      }
    }
  }
}

TEST_F(PackedFolder, ExportsNoInfinityAndCountsWhatBecomesZero) {
  const std::string model = copy_of("llama_gqa_tied_bf16", "model");
  const std::string head = "model.embed_tokens.weight";
  spoil(model, head, [](std::span<float> v) { v[5] = 7e4f, v[17] = -1e30f; });
  spoil(model, kUp, [](std::span<float> v) {
    for (float& x : v)
      x *= 0x1p-30f;
  });
  quantize(model, "packed", kRtn, [](const std::string& n) { return n != kUp; });
  const PackedSource packed = open("packed");
  EXPECT_ERROR(UserError, export_dequantized(packed, path("half"), DType::kF16), "2 of the numbers of '" + head + "'",
               "--dtype BF16", "F32");
  EXPECT_FALSE(std::filesystem::exists(path("half")));
  export_dequantized(packed, path("own"));
  EXPECT_EQ(CheckpointSource(path("own")).load_linear(head)(0, 5), bfloat16_to_float(float_to_bfloat16(7e4f)));

  spoil(model, head, [](std::span<float> v) { v[5] = v[17] = 0; });
  quantize(model, "small", kRtn, [](const std::string& n) { return n != kUp; });
  const Matrix up = CheckpointSource(model).load_linear(kUp);
  int64_t zeroed = 0;
  for (int64_t i = 0; i < up.size(); ++i)
    zeroed += up.data()[i] != 0 && round_to_half(up.data()[i]) == 0 ? 1 : 0;
  ASSERT_GT(zeroed, 100);
  testing::internal::CaptureStderr();
  export_dequantized(open("small"), path("small half"), DType::kF16);
  const std::string said = testing::internal::GetCapturedStderr();
  test::expect_words(
      said, {fmt::format("warning: export: {} numbers of 1 tensors (first {})", zeroed, kUp), "became zero", "--dtype BF16"});
  testing::internal::CaptureStderr();
  export_dequantized(open("small"), path("small own"));
  EXPECT_EQ(testing::internal::GetCapturedStderr().find("zero"), std::string::npos);
}

TEST_F(PackedFolder, IsNotBegunForAModelWithNaNOutsideItsMatrices) {
  for (const std::string name : {"model.embed_tokens.weight", "model.norm.weight", kUp}) {
    const std::string model = copy_of("llama_gqa_tied_bf16", name);
    spoil(model, name, [](std::span<float> v) { v.back() = std::nanf(""); });
    const auto without_up = [](const std::string& n) { return n != kUp; };  // what is left out is looked at, too
    EXPECT_ERROR(ResourceError, quantize(model, name + "-packed", kRtn, without_up), name, "NaN");
    EXPECT_FALSE(std::filesystem::exists(path(name + "-packed.work")));
  }
}

}  // namespace
}  // namespace sage
