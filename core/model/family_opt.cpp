#include "core/model/family.h"

namespace sage {

namespace {

// OPT (Zhang et al., arXiv:2205.01068). `attention_norm` and `mlp_norm` say where the block's two norms sit; their tensors have
// the same names either way.
Family opt(NormPlace attention_norm, NormPlace mlp_norm) {
  Family f;
  f.model_types = {"opt"};
  f.architectures = {"OPTForCausalLM"};
  f.embedding = "model.decoder.embed_tokens.weight";
  f.positions = PositionKind::kLearned;
  f.position_table = "model.decoder.embed_positions.weight";
  f.position_offset = 2;
  f.project_in = "model.decoder.project_in.weight";
  f.project_out = "model.decoder.project_out.weight";
  f.head = "lm_head.weight";
  f.tied_by_default = true;
  f.norm = NormKind::kLayer;
  f.norm_eps = 1e-5;
  f.activations = {{"relu", MlpKind::kRelu}, {"gelu", MlpKind::kGelu}};  // Galactica has gelu
  using enum LinearRole;
  using enum Extent;
  f.linears = {
      {kQuery, "model.decoder.layers.{i}.self_attn.q_proj", kQueryWidth, kHidden, BiasRule::kEnableBias, "qkv"},
      {kKey, "model.decoder.layers.{i}.self_attn.k_proj", kKvWidth, kHidden, BiasRule::kEnableBias, "qkv"},
      {kValue, "model.decoder.layers.{i}.self_attn.v_proj", kKvWidth, kHidden, BiasRule::kEnableBias, "qkv"},
      {kOutput, "model.decoder.layers.{i}.self_attn.out_proj", kHidden, kQueryWidth, BiasRule::kEnableBias, "o"},
      {kUp, "model.decoder.layers.{i}.fc1", kIntermediate, kHidden, BiasRule::kEnableBias, "up"},
      {kDown, "model.decoder.layers.{i}.fc2", kHidden, kIntermediate, BiasRule::kEnableBias, "down"},
  };
  f.norms = {{attention_norm, "model.decoder.layers.{i}.self_attn_layer_norm"},
             {mlp_norm, "model.decoder.layers.{i}.final_layer_norm"}};
  return f;
}

}  // namespace

Family opt_family() {
  Family f = opt(NormPlace::kBeforeAttention, NormPlace::kBeforeMlp);
  f.name = "opt";
  f.norm_before = true;
  f.final_norm = "model.decoder.final_layer_norm";
  return f;
}

// OPT-350M: do_layer_norm_before false.
Family opt_post_norm_family() {
  Family f = opt(NormPlace::kAfterAttention, NormPlace::kAfterMlp);
  f.name = "opt-post-norm";
  f.norm_before = false;
  return f;
}

}  // namespace sage
