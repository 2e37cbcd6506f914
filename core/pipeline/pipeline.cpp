#include "core/pipeline/pipeline.h"

#include <algorithm>
#include <set>

#include "core/pipeline/pipeline_config.h"
#include "core/util/errors.h"

namespace sage {
namespace {

const Value& slot(const Value& section, std::string_view path) {
  const Value* v = section.find_path(path);
  if (v == nullptr) throw Error(ExitCode::kInternalError, fmt::format("pipeline: slot '{}' is absent from a canonical section", path));
  return *v;
}
int64_t integer(const Value& section, std::string_view key) { return config_detail::parse_int(slot(section, key), std::string(key)); }

Scope scope_of(const Value& section, const std::string& prefix) {
  const std::string& weights = slot(section, prefix + "segment_weights").text();
  return {integer(section, prefix + "segment_columns"), weights == "original"  ? Scope::Weights::kOriginal
                                                        : weights == "cleaned" ? Scope::Weights::kCleaned
                                                                               : Scope::Weights::kCompensated};
}

template <class F>
void for_each_slot(const Value& section, const Registries& r, F visit) {
  visit(r.transform, slot(section, "transform"), "pipeline.transform");
  visit(r.saliency, slot(section, "saliency"), "pipeline.saliency");
  visit(r.threshold, slot(section, "threshold"), "pipeline.threshold");
  visit(r.grouping, slot(section, "grouping"), "pipeline.grouping");
  visit(r.quantizer, slot(section, "quantizer"), "pipeline.quantizer");
  visit(r.quantizer, slot(section, "salient_quantizer"), "pipeline.salient_quantizer");
  visit(r.compensator, slot(section, "compensator"), "pipeline.compensator");
  for (const char* c : {"salient_index", "group_index", "codes", "signs"})
    visit(r.coder, slot(section, std::string("coder.") + c), std::string("pipeline.coder.") + c);
}

}  // namespace

PipelineFactory::PipelineFactory(Value canonical, const Registries& registries) : canonical_(std::move(canonical)), registries_(registries) {
  variants_ = pipeline_variants(canonical_);
  numerics_ = slot(variants_.front(), "numerics").text() == "reference" ? Numerics::kReference : Numerics::kPacked;
  make(0);  // a section that cannot be built fails here, before any work
}

Pipeline PipelineFactory::make(int alternative) const {
  const Value& s = variants_.at(static_cast<size_t>(alternative));
  const Registries& r = registries_;
  Pipeline p;
  p.transform = r.transform.make(slot(s, "transform"), "pipeline.transform");
  p.saliency = r.saliency.make(slot(s, "saliency"), "pipeline.saliency");
  p.threshold = r.threshold.make(slot(s, "threshold"), "pipeline.threshold");
  p.grouping = r.grouping.make(slot(s, "grouping"), "pipeline.grouping");
  p.quantizer = r.quantizer.make(slot(s, "quantizer"), "pipeline.quantizer");
  p.salient_quantizer = r.quantizer.make(slot(s, "salient_quantizer"), "pipeline.salient_quantizer");
  p.compensator = r.compensator.make(slot(s, "compensator"), "pipeline.compensator");
  p.salient_index_coder = r.coder.make(slot(s, "coder.salient_index"), "pipeline.coder.salient_index");
  p.group_index_coder = r.coder.make(slot(s, "coder.group_index"), "pipeline.coder.group_index");
  p.code_coder = r.coder.make(slot(s, "coder.codes"), "pipeline.coder.codes");
  p.sign_coder = r.coder.make(slot(s, "coder.signs"), "pipeline.coder.signs");
  p.scope = scope_of(s, "");
  p.salient_scope = scope_of(s, "salient_");
  if (p.salient_scope.columns < 0) p.salient_scope.columns = p.scope.columns;
  p.block_columns = integer(s, "block_columns");
  p.activation_order = slot(s, "column_order").text() == "activation";
  p.zero_dead_columns = slot(s, "dead_columns").text() == "zero";
  p.trial_weights = integer(s, "trial_weights");
  p.numerics = numerics_;
  p.paper_formula = slot(s, "paper_formula").text() == "claimed_width" ? PaperFormula::kClaimedWidth : PaperFormula::kNominal;
  if (!p.saliency->never_selects() && !p.saliency->supports(p.threshold->unit()))
    throw UserError("{}: saliency '{}' cannot be cut in the unit of threshold '{}'; expected a pair that agrees; give the threshold a ratio instead",
                    slot(s, "saliency").where().str(), slot(s, "saliency.type").text(), slot(s, "threshold.type").text());
  return p;
}

std::string PipelineFactory::transform_key(int alternative) const { return canonical_json(slot(variants_.at(static_cast<size_t>(alternative)), "transform")); }

std::vector<std::string> PipelineFactory::component_versions() const {
  std::set<std::string> out;
  for (const Value& s : variants_)
    for_each_slot(s, registries_, [&](const auto& registry, const Value& block, const std::string& section) {
      const ComponentInfo& info = registry.info(block, section);
      out.insert(fmt::format("{}/{}@{}", info.kind, info.name, info.version));
    });
  return {out.begin(), out.end()};
}

bool PipelineFactory::needs_calibration() const {
  for (int a = 0; a < alternatives(); ++a) {
    if (make(a).needs_calibration()) return true;
  }
  return false;
}

}  // namespace sage
