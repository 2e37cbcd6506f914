#include "core/model/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/util/errors.h"

namespace sage {

namespace {

enum Slot { kNormed, kQueries, kKeys, kValues, kMixed, kBranch, kInner, kUpper, kProjected };

// Rows of one piece of work: enough for matrix products to run at full speed, few enough that the MLP's buffers stay small.
constexpr int64_t kPieceRows = 2048;
int64_t piece_rows(int64_t sequence_length) { return std::max<int64_t>(1, kPieceRows / sequence_length) * sequence_length; }

const LinearRow& row_of(const Family& family, LinearRole role) {
  for (const LinearRow& row : family.linears)
    if (row.role == role) return row;
  throw Error(ExitCode::kInternalError, fmt::format("family {}: a linear layer of the block is not in its table", family.name));
}

void apply_norm(const Family& family, const ModelConfig& config, std::span<const float> gain, std::span<const float> shift,
                WeightView x, View<float> y, const Backend& backend) {
  const auto eps = static_cast<float>(norm_eps(family, config));
  switch (family.norm) {
    case NormKind::kRms: backend.rms_norm(x, gain, eps, y); break;
    case NormKind::kLayer: backend.layer_norm(x, gain, shift, eps, y); break;
  }
}

// Gains and shifts of the norm NAME; of a layer norm without tensors, the ones and zeros they stand for.
void load_norm(const Family& family, const WeightSource& source, const std::string& name, int64_t width,
               std::vector<float>& gain, std::vector<float>& shift) {
  const bool layer_norm = family.norm == NormKind::kLayer;
  if (layer_norm && !source.config().norm_affine) {
    gain.assign(static_cast<size_t>(width), 1.0f);
    shift.assign(static_cast<size_t>(width), 0.0f);
    return;
  }
  gain = source.load_vector(name + ".weight");
  if (layer_norm) shift = source.load_vector(name + ".bias");
}

AttentionShape attention_shape(const Family& family, const ModelConfig& c) {
  AttentionShape shape;
  shape.heads = static_cast<int>(c.heads);
  shape.kv_heads = static_cast<int>(c.kv_heads);
  shape.head_dim = static_cast<int>(c.head_dim);
  shape.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  shape.window = family.sliding_window ? static_cast<int>(c.sliding_window) : 0;
  return shape;
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
    apply_norm(family, config, gain(place), block.shift[static_cast<size_t>(place)], x, y, backend);
  }
  // The input of a branch: the stream, or its norm where there is one before the branch.
  WeightView branch_input(NormPlace place, View<float> hidden) const {
    if (gain(place).empty()) return hidden;
    const View<float> x = workspace.take(kNormed, hidden.rows, hidden.cols);
    norm(place, hidden, x);
    return x;
  }
  void stream_norm(NormPlace place, View<float> hidden) const {
    if (!gain(place).empty()) norm(place, hidden, hidden);
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

void attention_branch(const Pass& p, View<float> hidden, int64_t length, const std::optional<RotaryTable>& rotary) {
  const ModelConfig& c = p.config;
  const View<float> q = p.workspace.take(kQueries, hidden.rows, c.query_width());
  const View<float> k = p.workspace.take(kKeys, hidden.rows, c.kv_width());
  const View<float> v = p.workspace.take(kValues, hidden.rows, c.kv_width());
  const View<float> mixed = p.workspace.take(kMixed, hidden.rows, c.query_width());
  const WeightView x = p.branch_input(NormPlace::kBeforeAttention, hidden);
  p.show(LinearRole::kQuery, x);
  p.linear(LinearRole::kQuery, x, q);
  p.linear(LinearRole::kKey, x, k);
  p.linear(LinearRole::kValue, x, v);
  p.head_norm(NormPlace::kQuery, q);
  p.head_norm(NormPlace::kKey, k);

  const AttentionShape shape = attention_shape(p.family, c);
  for (int64_t first = 0; first < hidden.rows; first += length) {
    const auto sequence = [&](View<float> m) { return m.row_range(first, first + length); };
    if (rotary) {
      p.backend.rotary(sequence(q), shape.heads, *rotary, 0);
      p.backend.rotary(sequence(k), shape.kv_heads, *rotary, 0);
    }
    p.backend.attention(sequence(q), sequence(k), sequence(v), shape, sequence(mixed));
  }
  p.show(LinearRole::kOutput, mixed);
  const View<float> out = p.workspace.take(kBranch, hidden.rows, hidden.cols);
  p.linear(LinearRole::kOutput, mixed, out);
  p.backend.add(hidden, out);
  p.stream_norm(NormPlace::kAfterAttention, hidden);
}

void mlp_branch(const Pass& p, View<float> hidden) {
  const WeightView x = p.branch_input(NormPlace::kBeforeMlp, hidden);
  const View<float> inner = p.workspace.take(kInner, hidden.rows, p.config.intermediate_size);
  p.show(LinearRole::kUp, x);
  switch (mlp_kind(p.family, p.config)) {
    case MlpKind::kSwiGlu: {
      const View<float> up = p.workspace.take(kUpper, hidden.rows, p.config.intermediate_size);
      p.linear(LinearRole::kGate, x, inner);
      p.linear(LinearRole::kUp, x, up);
      p.backend.silu_mul(inner, up, inner);
      break;
    }
    case MlpKind::kRelu:
      p.linear(LinearRole::kUp, x, inner);
      p.backend.relu(inner);
      break;
    case MlpKind::kGelu:
      p.linear(LinearRole::kUp, x, inner);
      p.backend.gelu(inner);
      break;
  }
  p.show(LinearRole::kDown, inner);
  const View<float> out = p.workspace.take(kBranch, hidden.rows, hidden.cols);
  p.linear(LinearRole::kDown, inner, out);
  p.backend.add(hidden, out);
  p.stream_norm(NormPlace::kAfterMlp, hidden);
}

}  // namespace

View<float> Workspace::take(int slot, int64_t rows, int64_t cols) {
  const auto s = static_cast<size_t>(slot);
  if (slots_.size() <= s) slots_.resize(s + 1);
  if (slots_[s].size() < rows * cols) {
    slots_[s] = {};  // before there is a new one: never both
    slots_[s] = BackendMatrix(backend_, 1, rows * cols);
  }
  return {slots_[s].view().data, rows, cols};
}

Matrix embed(const Family& family, const WeightSource& source, std::span<const int32_t> ids, int64_t sequence_length,
             const Backend& backend) {
  const ModelConfig& config = source.config();
  if (sequence_length <= 0 || static_cast<int64_t>(ids.size()) % sequence_length != 0)
    throw Error(ExitCode::kInternalError,
                fmt::format("embed: {} ids are not whole sequences of {}", ids.size(), sequence_length));
  check_sequence_length(family, config, sequence_length);
  Matrix hidden = source.load_rows(family.embedding, ids);
  if (has_projections(config)) {
    const Matrix embedded = std::move(hidden);
    hidden = Matrix(embedded.rows(), config.hidden_size);
    backend.linear(embedded.view(), source.load_linear(family.project_in).view(), {}, hidden.view());
    source.release(family.project_in);
  }
  if (family.positions == PositionKind::kLearned) {
    std::vector<int32_t> rows(static_cast<size_t>(sequence_length));
    std::iota(rows.begin(), rows.end(), static_cast<int32_t>(family.position_offset));
    const Matrix table = source.load_rows(family.position_table, rows);
    for (int64_t first = 0; first < hidden.rows(); first += sequence_length)
      backend.add(hidden.view().row_range(first, first + sequence_length), table.view());
  }
  return hidden;
}

BlockWeights load_block(const Family& family, const WeightSource& source, int layer) {
  BlockWeights block;
  block.layer = layer;
  const ModelConfig& config = source.config();
  for (const NormRow& row : family.norms) {
    const auto place = static_cast<size_t>(row.place);
    load_norm(family, source, tensor_name(row.tensor, layer, ""), norm_width(row.place, config), block.norm[place],
              block.shift[place]);
  }
  for (const LinearRow& row : family.linears) {
    const std::string name = tensor_name(row.tensor, layer, ".weight");
    block.weight(row.role) = source.load_linear(name);
    source.release(name);
    if (has_bias(row, config))
      block.bias[static_cast<size_t>(row.role)] = source.load_vector(tensor_name(row.tensor, layer, ".bias"));
  }
  return block;
}

std::vector<HeldMemory> hold(const Backend& backend, const BlockWeights& block) {
  std::vector<HeldMemory> held;
  for (const Matrix& w : block.linear)
    held.push_back(hold(backend, w.view()));
  for (const std::vector<float>& v : block.bias)
    held.push_back(hold(backend, v));
  for (const auto* vectors : {&block.norm, &block.shift})
    for (const std::vector<float>& v : *vectors)
      held.push_back(hold(backend, v));
  return held;
}

void check_forward(const Family& family, const ModelConfig& config, const Backend& backend) {
  backend.require_attention(attention_shape(family, config));
}

void forward_block(const Family& family, const ModelConfig& config, const BlockWeights& block, View<float> hidden,
                   int64_t sequence_length, const Backend& backend, Workspace& workspace, const InputObserver& observe) {
  if (sequence_length <= 0 || hidden.rows % sequence_length != 0 || hidden.cols != config.hidden_size)
    throw Error(ExitCode::kInternalError, fmt::format("forward_block: {} x {} is not whole sequences of {} x {}", hidden.rows,
                                                      hidden.cols, sequence_length, config.hidden_size));
  const Pass pass{family, config, block, backend, workspace, observe};
  std::optional<RotaryTable> rotary;
  if (family.positions == PositionKind::kRotary) rotary = rotary_table(config.rotary, config.head_dim);
  const int64_t piece = piece_rows(sequence_length);
  for (int64_t first = 0; first < hidden.rows; first += piece) {
    const View<float> rows = hidden.row_range(first, std::min(hidden.rows, first + piece));
    attention_branch(pass, rows, sequence_length, rotary);
    mlp_branch(pass, rows);
  }
}

FinalWeights load_final(const Family& family, const WeightSource& source) {
  FinalWeights out;
  const ModelConfig& config = source.config();
  if (has_final_norm(family, config)) load_norm(family, source, family.final_norm, config.hidden_size, out.gain, out.shift);
  if (has_projections(config)) {
    out.project = source.load_linear(family.project_out);
    source.release(family.project_out);
  }
  return out;
}

std::vector<HeldMemory> hold(const Backend& backend, const FinalWeights& final_weights) {
  return {hold(backend, final_weights.gain), hold(backend, final_weights.shift), hold(backend, final_weights.project.view())};
}

WeightView finish(const Family& family, const ModelConfig& config, const FinalWeights& final_weights, View<float> hidden,
                  const Backend& backend, Workspace& workspace) {
  if (!final_weights.gain.empty()) apply_norm(family, config, final_weights.gain, final_weights.shift, hidden, hidden, backend);
  if (final_weights.project.size() == 0) return hidden;
  const View<float> out = workspace.take(kProjected, hidden.rows, final_weights.project.rows());
  backend.linear(hidden, final_weights.project.view(), {}, out);
  return out;
}

Matrix load_head(const Family& family, const WeightSource& source) {
  const std::string& name = head_tensor(family, source.config());
  Matrix head = source.load_linear(name);
  source.release(name);
  return head;
}

uint64_t pass_memory_bytes(const Family& family, const ModelConfig& config, int64_t sequence_length) {
  int64_t weights = 0;
  for (const LinearSite& site : linear_sites(family, config))
    if (site.layer == 0) weights += site.rows * site.cols;
  const int64_t width =
      2 * config.hidden_size + 2 * config.query_width() + 2 * config.kv_width() + 2 * config.intermediate_size;
  return static_cast<uint64_t>(2 * weights) * (sizeof(float) + sizeof(uint16_t)) +
         static_cast<uint64_t>(piece_rows(sequence_length) * width) * sizeof(float);
}

}  // namespace sage
