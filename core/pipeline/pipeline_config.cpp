#include "core/pipeline/pipeline_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/pipeline/pipeline.h"
#include "core/strategy/planes.h"
#include "core/util/errors.h"

namespace sage {
namespace {

constexpr size_t kMaxAlternatives = 256;

enum class ColumnOrder { kNatural, kActivation };
enum class DeadColumns { kKeep, kZero };

struct Scalars {
  int64_t segment_columns = 0;
  Scope::Weights segment_weights = Scope::Weights::kCompensated;
  int64_t salient_segment_columns = -1;
  Scope::Weights salient_segment_weights = Scope::Weights::kCompensated;
  int64_t block_columns = 0;
  ColumnOrder column_order = ColumnOrder::kNatural;
  DeadColumns dead_columns = DeadColumns::kKeep;
  Numerics numerics = Numerics::kPacked;
  int64_t trial_weights = 0;
  PaperFormula paper_formula = PaperFormula::kNominal;
};

Schema<Scalars> scalar_schema() {
  constexpr int64_t kLargest = int64_t{1} << 40;
  const auto weights = choices<Scope::Weights>({{"original", Scope::Weights::kOriginal},
                                                {"cleaned", Scope::Weights::kCleaned},
                                                {"compensated", Scope::Weights::kCompensated}});
  return Schema<Scalars>{}
      .add("segment_columns", &Scalars::segment_columns, range(int64_t{0}, kLargest),
           "Columns that are selected, grouped and fitted together; 0 = the whole matrix.")
      .add("segment_weights", &Scalars::segment_weights, weights,
           "The weights a segment is fitted on: original (before dead columns are zeroed), cleaned, or as compensation left them.")
      .add("salient_segment_columns", &Scalars::salient_segment_columns, range(int64_t{-1}, kLargest),
           "The same for the salient quantizer; -1 = as segment_columns.")
      .add("salient_segment_weights", &Scalars::salient_segment_weights, weights, "The same for the salient quantizer.")
      .add("block_columns", &Scalars::block_columns, range(int64_t{0}, kLargest),
           "Columns between two updates of a compensator; 0 = one segment.")
      .add("column_order", &Scalars::column_order,
           choices<ColumnOrder>({{"natural", ColumnOrder::kNatural}, {"activation", ColumnOrder::kActivation}}),
           "Columns worked through as stored, or by descending diagonal of the Hessian (act-order).")
      .add("dead_columns", &Scalars::dead_columns, choices<DeadColumns>({{"keep", DeadColumns::kKeep}, {"zero", DeadColumns::kZero}}),
           "Whether weights whose inputs were zero throughout calibration are set to zero first.")
      .add("numerics", &Scalars::numerics,
           choices<Numerics>({{"packed", Numerics::kPacked}, {"reference", Numerics::kReference}}),
           "Real parameters in FP16 as a deployed file holds them, or FP32 as released code computes.")
      .add("trial_weights", &Scalars::trial_weights, range(int64_t{0}, kLargest),
           "Weights a threshold trial looks at, about; 0 = all.")
      .add("paper_formula", &Scalars::paper_formula,
           choices<PaperFormula>({{"nominal", PaperFormula::kNominal}, {"claimed_width", PaperFormula::kClaimedWidth}}),
           "How paper bits are counted: weight and scaling bits of SAGE-PTQ, or the b of b-bit tables.");
}

// Calls f with the registry of a kind.
template <class F>
auto with_registry(const Registries& r, std::string_view kind, F f) {
  if (kind == "transform") return f(r.transform);
  if (kind == "saliency") return f(r.saliency);
  if (kind == "threshold") return f(r.threshold);
  if (kind == "grouping") return f(r.grouping);
  if (kind == "quantizer") return f(r.quantizer);
  if (kind == "compensator") return f(r.compensator);
  return f(r.coder);
}

std::string section_of(const char* path) { return std::string("pipeline.") + path; }

void expand_slot(Value& block) {
  if (!block.is_scalar()) return;
  Value type = block;
  Value map = Value::map(block.where());
  map.set_key_where(block.key_where());
  map.set("type", std::move(type));
  block = std::move(map);
}

void expand_slots(Value& pipeline) {
  if (!pipeline.is_map()) return;
  for (auto& m : pipeline.members()) {
    const std::string& name = m.first;
    Value& member = m.second;
    if (name == "coder" && member.is_map()) {
      for (auto& [part, block] : member.members())
        expand_slot(block);
    } else if (std::any_of(pipeline_slots().begin(), pipeline_slots().end(),
                           [&](const PipelineSlot& s) { return name == s.path; })) {
      expand_slot(member);
    }
  }
}

const char* unit_name(Cut::Unit unit) {
  switch (unit) {
    case Cut::Unit::kSigmas: return "a number of standard deviations";
    case Cut::Unit::kCount: return "a number of columns";
    case Cut::Unit::kPercentile: return "a percentile of the scores";
    case Cut::Unit::kRatio: break;
  }
  return "a share of the weights";
}

void check_together(const Value& canonical, const Value& written, const Registries& r) {
  const auto block = [&](const char* path) -> const Value& { return *canonical.find_path(path); };
  const auto where = [&](const char* path) {
    const Value* v = written.find_path(path);
    return (v == nullptr ? written : *v).where().str();
  };
  const auto type = [&](const char* path) { return block(path).find("type")->text(); };
  for (const PipelineSlot& s : pipeline_slots()) {
    const std::string section = section_of(s.path);
    if (std::string_view(s.kind) != "coder") {
      try {
        with_registry(r, s.kind, [&](const auto& registry) { registry.make(block(s.path), section); });
      } catch (const UserError& e) {  // the schema has passed: parameters that exclude each other
        throw UserError("{}: {}: {}", where(s.path), section, e.what());
      }
      continue;
    }
    const auto coder = r.coder.make(block(s.path), section);
    const bool positions = std::string_view(s.path) == "coder.salient_index";
    if (positions ? coder->codes_positions() : coder->codes_symbols()) continue;
    std::string able;
    for (const ComponentInfo& c : r.coder.list()) {
      const auto other = r.coder.make(Value::scalar(c.name), section);
      if (positions ? other->codes_positions() : other->codes_symbols()) able += (able.empty() ? "" : ", ") + c.name;
    }
    throw UserError("{}: the coder '{}' cannot write {} ({}); expected one of: {}", where(s.path), type(s.path),
                    positions ? "positions" : "symbols", section, able);
  }
  const auto saliency = r.saliency.make(block("saliency"), "pipeline.saliency");
  const auto threshold = r.threshold.make(block("threshold"), "pipeline.threshold");
  if (!saliency->never_selects() && !saliency->supports(threshold->unit()))
    throw UserError("{}: the threshold '{}' gives {}, which the saliency '{}' cannot be cut by; change one of them",
                    where("threshold"), type("threshold"), unit_name(threshold->unit()), type("saliency"));
}

// Segments, blocks and order must allow every part to be chosen before it is needed.
void check_scopes(const Value& canonical, const Value& written, const Registries& r) {
  const auto fail = [&](const char* key, const std::string& found, const std::string& expected) {
    const Value* v = written.find(key);
    throw UserError("{}: pipeline.{}: {}; expected {}", (v == nullptr ? written : *v).where().str(), key, found, expected);
  };
  const Scalars s = [&] {
    Value scalars = Value::map();
    for (const std::string& name : scalar_schema().names()) scalars.set(name, *canonical.find(name));
    return scalar_schema().parse(scalars, "pipeline");
  }();
  const auto compensator = r.compensator.make(*canonical.find("compensator"), "pipeline.compensator");
  const int64_t salient_columns = s.salient_segment_columns < 0 ? s.segment_columns : s.salient_segment_columns;
  const int64_t block = s.block_columns > 0 ? s.block_columns : s.segment_columns;
  const bool compensates = compensator->needs_calibration();
  const auto nested = [](int64_t inner, int64_t outer) { return outer == 0 || (inner > 0 && outer % inner == 0); };
  const auto check_blocks = [&](const char* key, int64_t columns) {
    if (compensates && columns > 0 && !nested(columns, block) && !nested(block, columns))
      fail(key, fmt::format("{} columns with blocks of {}", columns, block), "one to divide the other");
  };
  check_blocks("segment_columns", s.segment_columns);
  check_blocks("salient_segment_columns", salient_columns);
  const bool selection_is_late = compensates && s.segment_weights == Scope::Weights::kCompensated;
  if (selection_is_late && s.salient_segment_weights != Scope::Weights::kCompensated)
    fail("salient_segment_weights", "chosen before compensation while the salient weights are selected after it",
         "segment_weights original or cleaned, or salient_segment_weights compensated");
  if (selection_is_late && !nested(salient_columns, s.segment_columns))
    fail("salient_segment_columns", fmt::format("segments of {} columns, selected in segments of {}", salient_columns, s.segment_columns),
         "a divisor of segment_columns, because salient weights are selected on the way");
  if (s.column_order == ColumnOrder::kActivation) {
    if (!compensator->columnwise())
      fail("column_order", "activation with a compensator that does not work column by column", "compensator gptq, or column_order natural");
    if (selection_is_late && s.segment_columns > 0 && salient_columns != s.segment_columns)
      fail("salient_segment_columns", "differs from segment_columns with column_order activation", "the same columns for both");
  }
}

std::vector<std::string> known_keys() {
  std::vector<std::string> keys;
  for (const PipelineSlot& s : pipeline_slots()) {
    const std::string path = s.path;
    const std::string top = path.substr(0, path.find('.'));
    if (std::find(keys.begin(), keys.end(), top) == keys.end()) keys.push_back(top);
  }
  for (std::string& n : scalar_schema().names())
    keys.push_back(std::move(n));
  keys.push_back("alternatives");
  return keys;
}

// A pipeline without alternatives.
Value canonical_single(const Value& pipeline, const Registries& registries) {
  const std::vector<std::string> known = known_keys();
  for (const auto& [key, member] : pipeline.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      config_detail::fail_unknown_key(member, key, "pipeline", known);

  Value out = Value::map(pipeline.where());
  out.set_key_where(pipeline.key_where());
  std::vector<std::string> coder_keys;
  for (const PipelineSlot& s : pipeline_slots()) {
    const std::string_view path = s.path;
    if (path.starts_with("coder.")) coder_keys.emplace_back(path.substr(6));
  }
  if (const Value* coder = pipeline.find("coder")) {
    if (!coder->is_map())
      throw UserError(
          "{}: pipeline.coder is not a map; expected {{salient_index: NAME, group_index: NAME, codes: NAME, signs: NAME}}",
          coder->where().str());
    for (const auto& [key, member] : coder->members())
      if (std::find(coder_keys.begin(), coder_keys.end(), key) == coder_keys.end())
        config_detail::fail_unknown_key(member, key, "pipeline.coder", coder_keys);
  }
  for (const PipelineSlot& s : pipeline_slots()) {
    const Value* written = pipeline.find_path(s.path);
    if (written == nullptr && s.default_type == nullptr)
      throw UserError("{}: pipeline has no '{}'; expected {{type: NAME, ...}} ({})", pipeline.where().str(), s.path, s.doc);
    const Value asked = written != nullptr ? *written : Value::scalar(s.default_type, pipeline.where());
    Value full =
        with_registry(registries, s.kind, [&](const auto& registry) { return registry.canonical(asked, section_of(s.path)); });
    // Origins: what was written keeps its place, defaults have none.
    if (written != nullptr) full.set_where(written->where());
    for (auto& [key, member] : full.members()) {
      const Value* given = asked.is_map() ? asked.find(key) : nullptr;
      if (given != nullptr)
        member.set_where(given->where());
      else if (key == "type" && written != nullptr)
        member.set_where(written->where());
    }
    const std::string_view path = s.path;
    if (path.starts_with("coder.")) {
      if (out.find("coder") == nullptr) out.set("coder", Value::map());
      out.find("coder")->set(std::string(path.substr(6)), std::move(full));
    } else {
      out.set(s.path, std::move(full));
    }
  }
  Value scalars = Value::map(pipeline.where());
  for (const std::string& name : scalar_schema().names())
    if (const Value* v = pipeline.find(name)) scalars.set(name, *v);
  const Value printed = scalar_schema().print(scalar_schema().parse(scalars, "pipeline"));
  for (const auto& [key, member] : printed.members()) {
    Value v = member;
    if (const Value* given = scalars.find(key)) v.set_where(given->where());
    out.set(key, std::move(v));
  }
  check_together(out, pipeline, registries);
  check_scopes(out, pipeline, registries);
  return out;
}

// Where nothing can be salient, what would choose, fit and write salient weights cannot act: set to defaults, so that pipelines
// that give the same file have one canonical form, and runs one key. Not with alternatives, whose thresholds compare them.
void forget_saliency(Value& canonical, const Registries& registries) {
  if (!registries.saliency.make(*canonical.find("saliency"), "pipeline.saliency")->never_selects()) return;
  Value bare = Value::map();
  bare.set("quantizer", *canonical.find("quantizer"));
  const Value defaults = canonical_single(bare, registries);
  for (const char* key : {"threshold", "salient_quantizer", "salient_segment_columns", "salient_segment_weights", "trial_weights"})
    canonical.set(key, *defaults.find(key));
  canonical.find("coder")->set("salient_index", *defaults.find_path("coder.salient_index"));
}

void check_alternatives(size_t a, size_t b, const Value& where) {
  if (b != 0 && a > kMaxAlternatives / b)
    throw UserError("{}: more than {} pipeline.alternatives; expected fewer: each is tried on every matrix",
                    where.where().str(), kMaxAlternatives);
}

// A list of maps, or {list: [maps], grid: {key: [values]}} multiplied out -> list of maps with dotted keys.
std::vector<Value> listed_alternatives(const Value& alternatives) {
  constexpr const char* kExpected = "a list of maps, or {list: [maps], grid: {dotted.key: [values], ...}}";
  if (alternatives.is_list()) {
    check_alternatives(alternatives.items().size(), 1, alternatives);
    return alternatives.items();
  }
  if (!alternatives.is_map() || alternatives.members().empty())
    throw UserError("{}: pipeline.alternatives is neither a list nor a map; expected {}", alternatives.where().str(),
                    kExpected);
  for (const auto& [key, member] : alternatives.members())
    if (key != "list" && key != "grid") config_detail::fail_unknown_key(member, key, "pipeline.alternatives", {"list", "grid"});
  std::vector<Value> out{Value::map(alternatives.where())};
  if (const Value* list = alternatives.find("list")) {
    if (!list->is_list() || list->items().empty())
      throw UserError("{}: pipeline.alternatives.list is not a list with entries; expected {}", list->where().str(), kExpected);
    check_alternatives(list->items().size(), 1, *list);
    out = list->items();
  }
  const Value* grid = alternatives.find("grid");
  if (grid == nullptr) return out;
  if (!grid->is_map())
    throw UserError("{}: pipeline.alternatives.grid is not a map; expected {}", grid->where().str(), kExpected);
  for (const auto& [key, values] : grid->members()) {
    if (!values.is_list() || values.items().empty())
      throw UserError("{}: pipeline.alternatives.grid.{} is not a list with values; expected [value, value, ...]",
                      values.where().str(), key);
    check_alternatives(out.size(), values.items().size(), *grid);
    std::vector<Value> next;
    for (const Value& before : out)
      for (const Value& v : values.items()) {
        next.push_back(before);
        if (before.is_map()) next.back().set(key, v);
      }
    out = std::move(next);
  }
  return out;
}

}  // namespace

const std::vector<PipelineSlot>& pipeline_slots() {
  static const std::vector<PipelineSlot> slots = {
      {"transform", "transform", "none", "invertible map applied before quantization and undone after decoding"},
      {"saliency", "saliency", "none", "which weights deserve more bits"},
      {"threshold", "threshold", "fixed", "where the saliency scores are cut"},
      {"grouping", "grouping", "single", "which of the other weights share parameters"},
      {"quantizer", "quantizer", nullptr, "codes of the weights that are not salient"},
      {"salient_quantizer", "quantizer", "multibit", "codes of the salient weights"},
      {"compensator", "compensator", "none", "moves the error of finished columns into later ones"},
      {"coder.salient_index", "coder", "csr", "how the positions of salient weights are written"},
      {"coder.group_index", "coder", "raw", "how group ids are written"},
      {"coder.codes", "coder", "raw", "how integer codes are written"},
      {"coder.signs", "coder", "raw", "how sign bits are written"},
  };
  return slots;
}

std::vector<ParamInfo> pipeline_parameters() { return scalar_schema().info(); }

bool is_full_precision(const Value& pipeline) {
  return pipeline.is_null() || (pipeline.is_scalar() && pipeline.text() == "none");
}

void expand_bare_names(Value& pipeline) { expand_slots(pipeline); }

Value canonical_pipeline(const Value& pipeline, const Registries& registries) {
  if (is_full_precision(pipeline)) return Value::scalar("none", pipeline.where());
  if (!pipeline.is_map())
    throw UserError("{}: pipeline is not a map; expected {{quantizer: {{type: NAME, ...}}, ...}}, or `none` for full precision",
                    pipeline.where().str());
  Value base = pipeline;
  expand_slots(base);
  Value alternatives = Value::list();
  if (const Value* given = base.find("alternatives")) {
    if (!given->is_null()) alternatives = *given;
    base.erase("alternatives");
  }
  Value out = canonical_single(base, registries);
  Value list = Value::list(alternatives.where());
  const std::vector<Value> parts = listed_alternatives(alternatives);
  std::vector<std::string> seen;
  for (const Value& part : parts) {
    if (!part.is_map())
      throw UserError("{}: an entry of pipeline.alternatives is not a map; expected {{key: value, ...}}, as in pipeline itself",
                      part.where().str());
    Value variant = base;
    for (const auto& [key, member] : part.members()) {
      const std::string top = key.substr(0, key.find('.'));
      if (top == "alternatives" || top == "numerics" || top == "paper_formula" || top == "trial_weights")
        throw UserError(
            "{}: '{}' inside pipeline.alternatives; expected components, segments and blocks: objectives of alternatives "
            "must be comparable",
            member.key_where().str(), top);
      set_path(variant, key, member);
      expand_slots(variant);
    }
    const Value full = canonical_single(variant, registries);
    const std::string text = canonical_json(full);
    if (std::find(seen.begin(), seen.end(), text) != seen.end()) continue;
    seen.push_back(text);
    Value difference = Value::map(part.where());
    for (const auto& [key, member] : full.members())
      if (canonical_json(member) != canonical_json(*out.find(key))) difference.set(key, member);
    list.items().push_back(std::move(difference));
  }
  if (list.items().empty()) forget_saliency(out, registries);
  out.set("alternatives", std::move(list));
  return out;
}

std::vector<Value> pipeline_variants(const Value& canonical) {
  std::vector<Value> out;
  Value base = canonical;
  base.erase("alternatives");
  const Value* alternatives = canonical.find("alternatives");
  if (alternatives == nullptr || alternatives->items().empty()) return {base};
  for (const Value& difference : alternatives->items()) {
    Value variant = base;
    for (const auto& [key, member] : difference.members())
      variant.set(key, member);
    out.push_back(std::move(variant));
  }
  return out;
}

}  // namespace sage
