#include "core/model/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/config/value.h"
#include "core/model/family.h"
#include "core/util/errors.h"
#include "core/util/half.h"
#include "core/util/log.h"
#include "core/util/random.h"

namespace sage {
namespace {

// 2^16 quantiles of N(0, 0.02^2), so that each 16 random bits give a weight: generation keeps up with the disk.
std::vector<float> normal_quantiles() {
  constexpr int kCount = 1 << 16;
  std::vector<float> table(kCount);
  double z = -6;
  for (int i = 0; i < kCount / 2; ++i) {
    const double p = (i + 0.5) / kCount;
    for (int step = 0; step < 60; ++step) {  // Newton on the distribution function
      const double f = 0.5 * std::erfc(-z / std::sqrt(2.0)) - p, slope = std::exp(-0.5 * z * z) / std::sqrt(2 * 3.14159265358979323846);
      const double next = z - std::clamp(f / slope, -0.5, 0.5);
      if (std::abs(next - z) < 1e-12) break;
      z = next;
    }
    table[static_cast<size_t>(i)] = static_cast<float>(0.02 * z);
    table[static_cast<size_t>(kCount - 1 - i)] = -table[static_cast<size_t>(i)];
  }
  return table;
}

nlohmann::json llama_config(const SyntheticShape& shape, int64_t layers, DType dtype) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", layers > 0 ? layers : shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"vocab_size", shape.vocabulary},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", shape.rope_theta},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", dtype == DType::kF16 ? "float16" : "float32"}};
}

nlohmann::json opt_config(const SyntheticShape& shape, int64_t layers, DType dtype) {
  return {{"architectures", {"OPTForCausalLM"}},
          {"model_type", "opt"},
          {"hidden_size", shape.hidden},
          {"ffn_dim", shape.intermediate},
          {"num_hidden_layers", layers > 0 ? layers : shape.layers},
          {"num_attention_heads", shape.heads},
          {"vocab_size", shape.vocabulary},
          {"word_embed_proj_dim", shape.embedding_width > 0 ? shape.embedding_width : shape.hidden},
          {"max_position_embeddings", 2048},
          {"do_layer_norm_before", shape.norm_before},
          {"activation_function", shape.activation},
          {"enable_bias", true},
          {"tie_word_embeddings", true},
          {"bos_token_id", 2},
          {"eos_token_id", 2},
          {"pad_token_id", 1},
          {"torch_dtype", dtype == DType::kF16 ? "float16" : "float32"}};
}

}  // namespace

const std::vector<SyntheticShape>& synthetic_shapes() {
  static const std::vector<SyntheticShape> shapes = {
      {"toy", 64, 160, 2, 4, 2, 2048, 10000},
      {"toy-wide-heads", 512, 160, 2, 1, 1, 2048, 10000},
      {"smollm2-135m", 576, 1536, 30, 9, 3, 49152, 100000},
      {"tinyllama-1.1b", 2048, 5632, 22, 32, 4, 32000, 10000},
      {"llama2-7b", 4096, 11008, 32, 32, 32, 32000, 10000},
      {"llama3-8b", 4096, 14336, 32, 32, 8, 128256, 500000},
      {"llama2-13b", 5120, 13824, 40, 40, 40, 32000, 10000},
      {"llama2-70b", 8192, 28672, 80, 64, 8, 32000, 10000},
      {"opt-toy", 64, 256, 2, 4, 4, 2048, 0, "opt"},
      {"opt-toy-post-norm", 64, 256, 2, 4, 4, 2048, 0, "opt", 32, false},
      {"opt-toy-gelu", 64, 256, 2, 4, 4, 2048, 0, "opt", 0, true, "gelu"},
      {"opt-125m", 768, 3072, 12, 12, 12, 50272, 0, "opt"},
      {"opt-350m", 1024, 4096, 24, 16, 16, 50272, 0, "opt", 512, false},
      {"opt-1.3b", 2048, 8192, 24, 32, 32, 50272, 0, "opt"},
      {"opt-2.7b", 2560, 10240, 32, 32, 32, 50272, 0, "opt"},
      {"opt-6.7b", 4096, 16384, 32, 32, 32, 50272, 0, "opt"},
      {"opt-13b", 5120, 20480, 40, 40, 40, 50272, 0, "opt"},
  };
  return shapes;
}

const SyntheticShape& find_synthetic_shape(const std::string& name) {
  std::vector<std::string> names;
  std::string all;
  for (const SyntheticShape& s : synthetic_shapes()) {
    if (s.name == name) return s;
    names.push_back(s.name);
    all += (all.empty() ? "" : ", ") + s.name;
  }
  const std::string near = nearest_name(name, names);
  throw UserError("--shape: unknown shape '{}'; expected one of: {}{}", name, all, near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

uint64_t write_synthetic_checkpoint(const SyntheticShape& shape, const std::string& folder, int64_t layers, DType dtype, uint64_t seed) {
  if (dtype != DType::kF16 && dtype != DType::kF32) throw UserError("--dtype: {}; expected F16 or F32", dtype_name(dtype));
  const nlohmann::json config = shape.family == "opt" ? opt_config(shape, layers, dtype) : llama_config(shape, layers, dtype);
  make_folders(folder);
  const std::string text = config.dump(2) + "\n";
  const ModelConfig parsed = parse_model_config(text, folder + "/config.json");
  const Family& family = find_family(parsed);
  const std::vector<float> quantiles = normal_quantiles();
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  double total = 0;
  for (const ExpectedTensor& t : expected_tensors(family, parsed)) {
    int64_t n = 1;
    for (int64_t d : t.shape) n *= d;
    total += static_cast<double>(n) * 1e-6;
  }
  Progress progress("synth", total, "million weights");
  for (const ExpectedTensor& t : expected_tensors(family, parsed)) {
    int64_t n = 1;
    for (int64_t d : t.shape) n *= d;
    writer.add(t.name, dtype, t.shape, [&, n, t](const ByteSink& sink) {
      Rng rng(seed, t.name);
      constexpr int64_t kChunk = int64_t{1} << 20;
      std::vector<float> values(static_cast<size_t>(std::min(n, kChunk)));
      std::vector<uint16_t> half(values.size());
      for (int64_t at = 0; at < n; at += kChunk) {
        const auto count = static_cast<size_t>(std::min(kChunk, n - at));
        if (t.shape.size() == 1 && t.name.ends_with(".weight")) {
          std::fill_n(values.begin(), count, 1.0f);
        } else {
          for (size_t i = 0; i < count;) {
            uint64_t bits = rng.next_u64();
            for (int k = 0; k < 4 && i < count; ++k, ++i, bits >>= 16) values[i] = quantiles[bits & 0xffffu];
          }
        }
        if (dtype == DType::kF32) {
          sink(std::as_bytes(std::span(values.data(), count)));
        } else {
          for (size_t i = 0; i < count; ++i) half[i] = float_to_half(values[i]);
          sink(std::as_bytes(std::span(half.data(), count)));
        }
      }
      progress.advance(static_cast<double>(n) * 1e-6, t.name);
    });
  }
  const SafetensorsSizes sizes = writer.write(folder + "/model.safetensors");
  progress.finish();
  write_file_atomically(folder + "/config.json", text);
  return sizes.total();
}

}  // namespace sage
