#include "core/model/forward.h"

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"

namespace sage {

namespace {

enum Slot { kNormed, kQueries, kKeys, kValues, kMixed, kBranch, kGated, kUpper };

// Rows of one piece of work: enough for matrix products to run at full speed, few enough that the MLP's buffers stay small.
constexpr int64_t kPieceRows = 2048;

const LinearRow& row_of(const Family& family, LinearRole role) {
  for (const LinearRow& row : family.linears)
    if (row.role == role) return row;
  throw Error(ExitCode::kInternalError, fmt::format("family {}: a linear layer of the block is not in its table", family.name));
}

// What one block's computation shares: saves every helper the same seven arguments.
struct Pass {
  const Family& family;
  const ModelConfig& config;
  const BlockWeights& block;
  const Backend& backend;
  Workspace& workspace;
  const InputObserver& observe;

  const std::vector<float>& gain(NormPlace place) const { return block.norm[static_cast<size_t>(place)]; }
  void norm(NormPlace place, WeightView x, View<float> y) const {
    backend.rms_norm(x, gain(place), static_cast<float>(config.norm_eps), y);
  }
  void show(LinearRole role, WeightView x) const {
    if (observe) observe(row_of(family, role).group, x);
  }
  void linear(LinearRole role, WeightView x, View<float> y) const {
    backend.linear(x, block.weight(role).view(), block.bias[static_cast<size_t>(role)], y);
  }
  // Norm of every head of every row, as if each head were a row of its own.
  void head_norm(NormPlace place, View<float> x) const {
    if (gain(place).empty()) return;
    const View<float> heads(x.data, x.rows * (x.cols / config.head_dim), config.head_dim);
    norm(place, heads, heads);
  }
};

void attention_branch(const Pass& p, View<float> hidden, int64_t length, const RotaryTable& rotary) {
  const ModelConfig& c = p.config;
  const View<float> x = p.workspace.take(kNormed, hidden.rows, hidden.cols);
  const View<float> q = p.workspace.take(kQueries, hidden.rows, c.query_width());
  const View<float> k = p.workspace.take(kKeys, hidden.rows, c.kv_width());
  const View<float> v = p.workspace.take(kValues, hidden.rows, c.kv_width());
  const View<float> mixed = p.workspace.take(kMixed, hidden.rows, c.query_width());
  p.norm(NormPlace::kBeforeAttention, hidden, x);
  p.show(LinearRole::kQuery, x);
  p.linear(LinearRole::kQuery, x, q);
  p.linear(LinearRole::kKey, x, k);
  p.linear(LinearRole::kValue, x, v);
  p.head_norm(NormPlace::kQuery, q);
  p.head_norm(NormPlace::kKey, k);

  AttentionShape shape;
  shape.heads = static_cast<int>(c.heads);
  shape.kv_heads = static_cast<int>(c.kv_heads);
  shape.head_dim = static_cast<int>(c.head_dim);
  shape.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  shape.window = p.family.sliding_window ? static_cast<int>(c.sliding_window) : 0;
  for (int64_t first = 0; first < hidden.rows; first += length) {
    const auto sequence = [&](View<float> m) { return m.row_range(first, first + length); };
    p.backend.rotary(sequence(q), shape.heads, rotary, 0);
    p.backend.rotary(sequence(k), shape.kv_heads, rotary, 0);
    p.backend.attention(sequence(q), sequence(k), sequence(v), shape, sequence(mixed));
  }
  p.show(LinearRole::kOutput, mixed);
  const View<float> out = p.workspace.take(kBranch, hidden.rows, hidden.cols);
  p.linear(LinearRole::kOutput, mixed, out);
  p.backend.add(hidden, out);
}

void mlp_branch(const Pass& p, View<float> hidden) {
  const View<float> x = p.workspace.take(kNormed, hidden.rows, hidden.cols);
  const View<float> gate = p.workspace.take(kGated, hidden.rows, p.config.intermediate_size);
  const View<float> up = p.workspace.take(kUpper, hidden.rows, p.config.intermediate_size);
  p.norm(NormPlace::kBeforeMlp, hidden, x);
  p.show(LinearRole::kUp, x);
  switch (p.family.mlp) {
    case MlpKind::kSwiGlu:
      p.linear(LinearRole::kGate, x, gate);
      p.linear(LinearRole::kUp, x, up);
      p.backend.silu_mul(gate, up, gate);
      break;
  }
  p.show(LinearRole::kDown, gate);
  const View<float> out = p.workspace.take(kBranch, hidden.rows, hidden.cols);
  p.linear(LinearRole::kDown, gate, out);
  p.backend.add(hidden, out);
}

}  // namespace

View<float> Workspace::take(int slot, int64_t rows, int64_t cols) {
  const auto s = static_cast<size_t>(slot);
  if (slots_.size() <= s) slots_.resize(s + 1);
  if (slots_[s].size() < rows * cols) slots_[s] = Matrix(1, rows * cols);
  return {slots_[s].data(), rows, cols};
}

Matrix embed(const Family& family, const WeightSource& source, std::span<const int32_t> ids) {
  return source.load_rows(family.embedding, ids);
}

BlockWeights load_block(const Family& family, const WeightSource& source, int layer) {
  BlockWeights block;
  block.layer = layer;
  for (const NormRow& row : family.norms)
    block.norm[static_cast<size_t>(row.place)] = source.load_vector(tensor_name(row.tensor, layer, ".weight"));
  for (const LinearRow& row : family.linears) {
    const std::string name = tensor_name(row.tensor, layer, ".weight");
    block.weight(row.role) = source.load_linear(name);
    source.release(name);
    if (has_bias(row, source.config()))
      block.bias[static_cast<size_t>(row.role)] = source.load_vector(tensor_name(row.tensor, layer, ".bias"));
  }
  return block;
}

void forward_block(const Family& family, const ModelConfig& config, const BlockWeights& block, View<float> hidden,
                   int64_t sequence_length, const Backend& backend, Workspace& workspace, const InputObserver& observe) {
  if (sequence_length <= 0 || hidden.rows % sequence_length != 0 || hidden.cols != config.hidden_size)
    throw Error(ExitCode::kInternalError, fmt::format("forward_block: {} x {} is not whole sequences of {} x {}", hidden.rows,
                                                      hidden.cols, sequence_length, config.hidden_size));
  const Pass pass{family, config, block, backend, workspace, observe};
  const RotaryTable rotary = rotary_table(config.rotary, config.head_dim);
  const int64_t piece = std::max<int64_t>(1, kPieceRows / sequence_length) * sequence_length;
  for (int64_t first = 0; first < hidden.rows; first += piece) {
    const View<float> rows = hidden.row_range(first, std::min(hidden.rows, first + piece));
    attention_branch(pass, rows, sequence_length, rotary);
    mlp_branch(pass, rows);
  }
}

std::vector<float> load_final_norm(const Family& family, const WeightSource& source) {
  return source.load_vector(family.final_norm);
}

void apply_final_norm(const Family&, const ModelConfig& config, std::span<const float> gain, View<float> hidden,
                      const Backend& backend) {
  backend.rms_norm(hidden, gain, static_cast<float>(config.norm_eps), hidden);
}

Matrix load_head(const Family& family, const WeightSource& source) {
  const std::string& name = head_tensor(family, source.config());
  Matrix head = source.load_linear(name);
  source.release(name);
  return head;
}

}  // namespace sage
