#include "core/model/family.h"

namespace sage {

// LLaMA 1-3, Vicuna, SmolLM2, DeepSeek (dense) and others of the same shape (Touvron et al., arXiv:2302.13971).
Family llama_family() {
  Family f;
  f.name = "llama";
  f.model_types = {"llama"};
  f.architectures = {"LlamaForCausalLM"};
  f.embedding = "model.embed_tokens.weight";
  f.final_norm = "model.norm";
  f.head = "lm_head.weight";
  f.norm = NormKind::kRms;
  f.activations = {{"silu", MlpKind::kSwiGlu}, {"swish", MlpKind::kSwiGlu}};
  using enum LinearRole;
  using enum Extent;
  f.linears = {
      {kQuery, "model.layers.{i}.self_attn.q_proj", kQueryWidth, kHidden, BiasRule::kAttentionBias, "qkv"},
      {kKey, "model.layers.{i}.self_attn.k_proj", kKvWidth, kHidden, BiasRule::kAttentionBias, "qkv"},
      {kValue, "model.layers.{i}.self_attn.v_proj", kKvWidth, kHidden, BiasRule::kAttentionBias, "qkv"},
      {kOutput, "model.layers.{i}.self_attn.o_proj", kHidden, kQueryWidth, BiasRule::kAttentionBias, "o"},
      {kGate, "model.layers.{i}.mlp.gate_proj", kIntermediate, kHidden, BiasRule::kMlpBias, "gate_up"},
      {kUp, "model.layers.{i}.mlp.up_proj", kIntermediate, kHidden, BiasRule::kMlpBias, "gate_up"},
      {kDown, "model.layers.{i}.mlp.down_proj", kHidden, kIntermediate, BiasRule::kMlpBias, "down"},
  };
  f.norms = {{NormPlace::kBeforeAttention, "model.layers.{i}.input_layernorm"},
             {NormPlace::kBeforeMlp, "model.layers.{i}.post_attention_layernorm"}};
  return f;
}

}  // namespace sage
