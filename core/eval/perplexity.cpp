#include "core/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/backend/memory.h"
#include "core/model/block_stream.h"
#include "core/model/family.h"
#include "core/model/forward.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/stop.h"

namespace sage {

namespace {

void stop_between_blocks() { stop_here("evaluate", "what was quantized is kept"); }

// Rows handed to the backend at a time: enough for its matrix products, whatever the window, and always the same so that the
// byte budget cannot change a result.
constexpr int64_t kRowsAtOnce = 2048;

int64_t windows_at_once(const Protocol& p) { return std::max<int64_t>(1, kRowsAtOnce / p.window); }

// The rows of one window's hidden states that predict a scored target.
WeightView predicting(WeightView states, const Protocol& p) { return states.row_range(p.first_scored - 1, p.window - 1); }

// Windows whose hidden states are in memory at a time: whole groups, at least one.
int64_t windows_per_pass(const Family& family, const ModelConfig& config, const TokenWindows& windows, const Backend& backend,
                         const EvalOptions& options) {
  const Protocol& p = windows.protocol;
  uint64_t budget = options.hidden_budget_bytes;
  if (const DeviceMemoryUse device = backend.device_memory(); device.total > 0) {
    // An eighth stays for scratch memory of the operations.
    const uint64_t taken = device.in_use + device.total / 8 + pass_memory_bytes(family, config, p.window);
    budget = std::min(budget, taken < device.total ? device.total - taken : 0);
  }
  const int64_t group = windows_at_once(p);
  const uint64_t window_bytes = static_cast<uint64_t>(p.window * config.hidden_size) * sizeof(float);
  return std::min(std::max(static_cast<int64_t>(budget / window_bytes) / group * group, group),
                  (windows.count + group - 1) / group * group);
}

}  // namespace

MeanError mean_error(const std::vector<double>& values) {
  MeanError out;
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (double v : values)
    sum += v;
  out.mean = sum / n;
  if (values.size() < 2) return out;
  double squares = 0;
  for (double v : values)
    squares += (v - out.mean) * (v - out.mean);
  out.standard_error = std::sqrt(squares / (n - 1) / n);
  return out;
}

void run_windows(const WeightSource& source, const TokenWindows& windows, const Backend& backend, const EvalOptions& options,
                 const std::function<void(int64_t, WeightView)>& take) {
  const ModelConfig& config = source.config();
  const Family& family = find_family(config);
  check_forward(family, config, backend);
  check_tensors(family, source);
  const Protocol& p = windows.protocol;
  check_sequence_length(family, config, p.window);
  if (config.max_positions > 0 && p.window > config.max_positions)
    log_warning("{}: windows of {} tokens on a model made for {} positions", source.folder(), p.window, config.max_positions);

  const int64_t group = windows_at_once(p), per_pass = windows_per_pass(family, config, windows, backend, options);
  const FinalWeights final_weights = load_final(family, source);
  const std::vector<HeldMemory> held = hold(backend, final_weights);
  std::optional<Progress> progress;
  if (options.progress) progress.emplace(options.task, static_cast<double>(windows.count * config.layers), "window x block");

  Workspace workspace(backend);
  BackendMatrix hidden(backend, std::min(per_pass, windows.count) * p.window, config.hidden_size);
  BlockStream blocks(family, source, backend, (windows.count + per_pass - 1) / per_pass);
  for (int64_t first = 0; first < windows.count; first += per_pass) {
    const int64_t last = std::min(first + per_pass, windows.count);
    const auto states_of = [&](int64_t from, int64_t to) {
      return hidden.view().row_range((from - first) * p.window, (to - first) * p.window);
    };
    const auto each_group = [&](const std::function<void(int64_t, int64_t)>& use) {
      for (int64_t w = first; w < last; w += group)
        use(w, std::min(w + group, last));
    };
    each_group([&](int64_t w, int64_t end) {
      const auto ids =
          std::span(windows.ids).subspan(static_cast<size_t>(w * p.window), static_cast<size_t>((end - w) * p.window));
      copy(backend, embed(family, source, ids, p.window, backend).view(), states_of(w, end));
    });
    for (int layer = 0; layer < config.layers; ++layer) {
      const BlockWeights& block = blocks.next();
      const auto span = backend.span(fmt::format("block {}", layer));
      each_group([&](int64_t w, int64_t end) {
        stop_between_blocks();
        forward_block(family, config, block, states_of(w, end), p.window, backend, workspace);
        if (progress) progress->advance(static_cast<double>(end - w));
      });
    }
    const auto span = backend.span("head");
    for (int64_t w = first; w < last; ++w)
      take(w, finish(family, config, final_weights, states_of(w, w + 1), backend, workspace));
  }
  if (progress) progress->finish();
}

// --- final hidden states
// ------------------------------------------------------------------------------------------------------

namespace {

constexpr const char* kStatesTensor = "final_hidden_states";

// Nothing where there is no cache folder at all.
std::optional<LruFolder> states_files(const EvalOptions& options) {
  try {
    return LruFolder(options.states_folder.empty() ? cache_folder() + "/eval" : options.states_folder, ".safetensors",
                     options.states_budget_bytes);
  } catch (const ResourceError& e) {
    warn_without_cache(e.what());
    return std::nullopt;
  }
}

using TakeStates = std::function<void(std::span<const float>)>;

// All rows that predict a scored target, window by window.
void predicting_states(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                       const EvalOptions& options, const TakeStates& take) {
  EvalOptions as_reference = options;
  as_reference.task += " (reference)";
  run_windows(source, windows, backend, as_reference, [&](int64_t, WeightView states) {
    const Matrix kept = to_host(backend, predicting(states, windows.protocol));
    take(std::span(kept.data(), static_cast<size_t>(kept.size())));
  });
}

// False, and a warning, if the disk does not take them. Errors of the model itself are thrown.
bool write_states(const WeightSource& source, const TokenWindows& windows, const Backend& backend, const EvalOptions& options,
                  const LruFolder& files, const std::string& key) {
  bool at_disk = true;
  try {
    make_folders(files.folder());
    SafetensorsWriter writer;
    writer.set_metadata("key", sha256_hex(key));
    writer.set_metadata("model", source.digest());
    writer.set_metadata("text", windows.text_name);
    writer.set_metadata("protocol", windows.protocol.words());
    const int64_t rows = windows.protocol.scored_per_window(), cols = source.config().embedding_width;
    writer.add(kStatesTensor, DType::kF32, {windows.count, rows, cols}, [&](const ByteSink& sink) {
      at_disk = false;
      predicting_states(source, windows, backend, options, [&](std::span<const float> states) {
        at_disk = true;
        sink(std::as_bytes(states));
        at_disk = false;
      });
      at_disk = true;
    });
    writer.write(files.path(key));
    files.evict(files.path(key));
    return true;
  } catch (const ResourceError& e) {
    if (!at_disk) throw;
    warn_without_cache(e.what());
    return false;
  }
}

}  // namespace

std::string final_states_key(const WeightSource& source, const TokenWindows& windows, const Backend& backend) {
  const std::string ids(reinterpret_cast<const char*>(windows.ids.data()), windows.ids.size() * sizeof(int32_t));
  return fmt::format("final states 2\nmodel {}\nids {}\nprotocol {}\nwindows {}\nbackend {}", source.digest(), sha256_hex(ids),
                     windows.protocol.words(), windows.count, backend.name());
}

WeightView FinalStates::window(int64_t i) const { return {data_ + i * rows_ * cols_, rows_, cols_}; }

std::optional<FinalStates> FinalStates::find(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                                             const EvalOptions& options) {
  const std::string key = final_states_key(source, windows, backend);
  const std::optional<LruFolder> files = states_files(options);
  if (!files) return std::nullopt;
  FinalStates out;
  out.path_ = files->path(key);
  if (!std::filesystem::exists(out.path_)) return std::nullopt;
  out.rows_ = windows.protocol.scored_per_window();
  out.cols_ = source.config().embedding_width;
  try {
    out.file_ = std::make_shared<SafetensorsFile>(out.path_);
    const TensorInfo& tensor = out.file_->at(kStatesTensor);
    const auto stored = out.file_->metadata().find("key");
    const bool fits = tensor.dtype == DType::kF32 &&
                      tensor.shape == std::vector<int64_t>{windows.count, out.rows_, out.cols_} &&
                      stored != out.file_->metadata().end() && stored->second == sha256_hex(key);
    if (!fits) throw ResourceError("{}: not the states asked for", out.path_);
    out.data_ = reinterpret_cast<const float*>(out.file_->bytes(tensor).data());
    out.in_use_ = std::make_shared<LruFolder::InUse>(out.path_);
    files->mark_used(out.path_);
  } catch (const ResourceError& e) {
    log_warning("{}; computing them again", e.what());
    return std::nullopt;
  }
  return out;
}

FinalStates FinalStates::of(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                            const EvalOptions& options) {
  if (std::optional<FinalStates> found = find(source, windows, backend, options)) return *found;
  const std::optional<LruFolder> files = states_files(options);
  if (files && write_states(source, windows, backend, options, *files, final_states_key(source, windows, backend)))
    if (std::optional<FinalStates> written = find(source, windows, backend, options)) return *written;
  FinalStates out;
  out.rows_ = windows.protocol.scored_per_window();
  out.cols_ = source.config().embedding_width;
  auto memory = std::make_shared<std::vector<float>>();
  memory->reserve(static_cast<size_t>(windows.count * out.rows_ * out.cols_));
  predicting_states(source, windows, backend, options,
                    [&](std::span<const float> states) { memory->insert(memory->end(), states.begin(), states.end()); });
  out.data_ = memory->data();
  out.memory_ = std::move(memory);
  return out;
}

// --- losses
// -------------------------------------------------------------------------------------------------------------------

PerplexityResult evaluate_perplexity(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                                     const EvalOptions& options, const Reference* reference) {
  const double started = now_seconds();
  const Protocol& p = windows.protocol;
  const Family& family = find_family(source.config());
  const Matrix head = load_head(family, source);
  const HeldMemory held_head = hold(backend, head.view());
  // A model whose final states are kept from an earlier run (the full-precision one) need not be run again.
  const std::optional<FinalStates> own = FinalStates::find(source, windows, backend, options);
  Matrix reference_head;
  HeldMemory held_reference_head;
  WeightView reference_head_view = head.view();
  if (reference != nullptr) {
    if (reference->source->config().hidden_size < 1 || reference->source->config().vocab_size != source.config().vocab_size) {
      throw UserError("{}: {} tokens in the vocabulary; expected {} as in {}; compare models of one vocabulary",
                      reference->source->folder(), reference->source->config().vocab_size, source.config().vocab_size,
                      source.folder());
    }
    reference_head = load_head(find_family(reference->source->config()), *reference->source);
    reference_head_view = reference_head.view();
    held_reference_head = hold(backend, reference_head_view);
  }

  PerplexityResult result;
  const auto scored = static_cast<size_t>(p.scored_per_window());
  std::vector<double> losses(scored), divergences(scored);
  std::vector<uint8_t> agreements(scored);
  double square_sum = 0, loss_sum = 0;
  const auto score = [&](int64_t w, WeightView states) {
    stop_between_blocks();
    const auto targets = windows.window(w).subspan(static_cast<size_t>(p.first_scored));
    if (reference == nullptr) {
      backend.head_nll(states, head.view(), targets, losses, {});
    } else {
      backend.head_divergence(reference->states.window(w), reference_head_view, states, head.view(), divergences, agreements,
                              targets, losses);
    }
    double sum = 0;
    for (size_t t = 0; t < scored; ++t) {
      if (!std::isfinite(losses[t])) {
        throw RunError(
            "{}: the loss of token {} of window {} is {}; expected a finite number; check the weights for extreme values",
            source.folder(), p.first_scored + static_cast<int64_t>(t), w, losses[t]);
      }
      sum += losses[t];
      square_sum += losses[t] * losses[t];
    }
    loss_sum += sum;
    result.nll.push_back(sum / static_cast<double>(scored));
    if (reference == nullptr) return;
    double kl = 0, agree = 0;
    for (size_t t = 0; t < scored; ++t) {
      kl += divergences[t];
      agree += agreements[t];
    }
    result.kl.push_back(kl / static_cast<double>(scored));
    result.top1.push_back(agree / static_cast<double>(scored));
  };
  if (own) {
    for (int64_t w = 0; w < windows.count; ++w)
      score(w, own->window(w));
  } else {
    run_windows(source, windows, backend, options, [&](int64_t w, WeightView states) { score(w, predicting(states, p)); });
  }

  result.protocol = p;
  result.windows = windows.count;
  result.scored_tokens = windows.scored_tokens();
  const auto n = static_cast<double>(result.scored_tokens);
  const MeanError nll = mean_error(result.nll);
  result.perplexity = std::exp(p.aggregate == Aggregate::kTargets ? loss_sum / n : nll.mean);
  result.standard_error = result.perplexity * nll.standard_error;  // delta method: d exp(x) = exp(x) dx
  const double mean = loss_sum / n;
  result.token_standard_error =
      n > 1 ? result.perplexity * std::sqrt(std::max(0.0, square_sum / n - mean * mean) / (n - 1)) : NAN;
  if (reference != nullptr) {
    result.kl_mean = mean_error(result.kl);
    result.top1_mean = mean_error(result.top1);
  }
  result.model_digest = source.digest();
  result.text_digest = windows.text_digest;
  result.tokens_digest = windows.tokens_digest;
  result.text_name = windows.text_name;
  result.from_states = own.has_value();
  result.seconds = now_seconds() - started;
  if (!own) result.tokens_per_second = static_cast<double>(windows.count * p.window) / std::max(result.seconds, 1e-9);
  return result;
}

}  // namespace sage
