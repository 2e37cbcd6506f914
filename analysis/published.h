// Published perplexities: analysis/published/{models,methods}.yaml and one file per source in analysis/published/sources.
//
//   source: BiLLM                          # short name
//   title: BiLLM, arXiv:2402.04291v2, ...  # citation, and whose runs these are
//   protocol: gptq-2048                    # of core/eval/protocol.h
//   notes: [cautions, ...]
//   figures:
//     - method: GPTQ 2-bit g128            # of methods.yaml
//       ran_by: others                     # authors: of the method; others; copied: printed as a run, equal to another
//       source's table: Table 2 text: WikiText-2                   # WikiText-2 (default) | C4 | PTB claimed_bits: 2 # as
//       printed note: A caution about these figures. perplexity: {OPT-1.3B: 115.17, OPT-2.7B: 61.59}   # models of models.yaml
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "results/run_record.h"

namespace sage {

inline constexpr const char* kPublishedText = "WikiText-2";

struct PublishedModel {
  std::string name;
  std::vector<std::string> patterns;
};

struct PublishedMethod {
  std::string name;
  std::string preset;                                      // a run of it here: this preset ("none": full precision)
  std::vector<std::pair<std::string, std::string>> set;    // with these settings
  std::vector<std::pair<std::string, std::string>> match;  // settings a run must have resolved to
  bool full_precision = false;
};

struct PublishedSource {
  std::string name;
  std::string title;
  std::string protocol;
  std::vector<std::string> notes;
};

enum class RanBy { kAuthors, kOthers, kCopied };
const char* ran_by_name(RanBy who);  // "authors", "others", "copied"

struct PublishedFigure {
  size_t source = 0;  // index into Published::sources
  std::string model;
  std::string method;
  std::string text = kPublishedText;
  std::string table;
  std::string note;
  double perplexity = kNotMeasured;
  double claimed_bits = kNotMeasured;
  RanBy ran_by = RanBy::kOthers;
};

struct Published {
  std::vector<PublishedModel> models;
  std::vector<std::string> other_models;  // words in a name that make it another model
  std::vector<PublishedMethod> methods;
  std::vector<PublishedSource> sources;  // by file name
  std::vector<PublishedFigure> figures;  // as the files list them

  // The model a name stands for ("facebook_opt-1.3b" -> "OPT-1.3B"), or "".
  std::string model_named(const std::string& name) const;
  // Methods whose settings the run resolved to, in the order of methods.yaml. A run that quantizes only some matrices, or
  // chooses between alternatives, is none of them.
  std::vector<const PublishedMethod*> methods_of(const RunRecord& run) const;
};

// From `folder`, or the shipped one. UserError with file:line:column for unknown keys, methods and models, and for a source
// that gives one figure twice; ResourceError where the folder is not there.
Published read_published(const std::string& folder = "");

}  // namespace sage
