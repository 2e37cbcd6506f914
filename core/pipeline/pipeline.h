// A pipeline: one component for each slot of the method, as an experiment file composes them. The engine (matrix_engine.h)
// drives them; components never hold one another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/config/value.h"
#include "core/strategy/registries.h"

namespace sage {

// Which published way of counting produces `paper bits`.
//   kNominal (SAGE-PTQ, arXiv 2606.05429): (1 - r) b_unsalient + r b_salient, plus 16 bits per scaling word the paper counts, over
//   the number of weights. Group ids and the salient index are not in it.
//   kClaimedWidth (the b of "b-bit" tables of RTN and GPTQ): weight bits alone.
enum class PaperFormula { kNominal, kClaimedWidth };

// What parameters are shared by, and when they are chosen: segments of `columns` columns (0 = the whole matrix), from the weights
//   kOriginal     as they came (transformed), before dead columns are set to zero
//   kCleaned      after that, before any compensation
//   kCompensated  as they stand when coding reaches the segment
struct Scope {
  enum class Weights { kOriginal, kCleaned, kCompensated };
  int64_t columns = 0;
  Weights weights = Weights::kCompensated;
};

struct Pipeline {
  std::unique_ptr<Transform> transform;
  std::unique_ptr<SaliencyFilter> saliency;
  std::unique_ptr<ThresholdSearcher> threshold;
  std::unique_ptr<GroupingStrategy> grouping;
  std::unique_ptr<Quantizer> quantizer;          // of the unsalient weights
  std::unique_ptr<Quantizer> salient_quantizer;
  std::unique_ptr<Compensator> compensator;
  std::unique_ptr<Coder> salient_index_coder, group_index_coder, code_coder, sign_coder;
  Scope scope;                // of saliency, threshold, grouping and quantizer
  Scope salient_scope;        // of the salient quantizer
  int64_t block_columns = 0;  // columns between two updates of a compensator; 0 = one segment
  bool activation_order = false;  // columns by descending diagonal of the Hessian (act-order) instead of as stored
  bool zero_dead_columns = false; // weights whose inputs were all zero in calibration become zero
  int64_t trial_weights = 0;  // threshold trials look at about this many weights (evenly spaced rows); 0 = all
  Numerics numerics = Numerics::kPacked;
  PaperFormula paper_formula = PaperFormula::kNominal;

  bool needs_calibration() const {
    return compensator->needs_calibration() || saliency->needs_calibration() || zero_dead_columns || activation_order;
  }
  // Segments follow the order of work instead of the stored order: the file then holds the segment of every column.
  bool scattered_segments() const { return activation_order && scope.weights == Scope::Weights::kCompensated && scope.columns > 0; }
  const Coder& coder(Role role) const {
    switch (role) {
      case Role::kSign: return *sign_coder;
      case Role::kGroupIndex: return *group_index_coder;
      default: return *code_coder;
    }
  }
};

// Makes pipelines from a canonical `pipeline` section (canonical_pipeline in pipeline_config.h). A section with `alternatives`
// describes several; the engine tries each on a matrix and keeps the one whose threshold objective is least.
class PipelineFactory {
 public:
  PipelineFactory(Value canonical, const Registries& registries);
  int alternatives() const { return static_cast<int>(variants_.size()); }
  Pipeline make(int alternative) const;
  // A pipeline is made per matrix, so components may keep state and matrices may run in parallel.
  const Value& config() const { return canonical_; }
  // Equal for alternatives with the same transform.
  std::string transform_key(int alternative) const;
  // name@version of every component used, sorted: part of a run's identity.
  std::vector<std::string> component_versions() const;
  bool needs_calibration() const;
  Numerics numerics() const { return numerics_; }

 private:
  Value canonical_;
  const Registries& registries_;
  std::vector<Value> variants_;
  Numerics numerics_;
};

}  // namespace sage
