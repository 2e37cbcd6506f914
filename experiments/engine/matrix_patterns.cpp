#include "experiments/engine/matrix_patterns.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "core/model/family.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/errors.h"

namespace sage {

const char* const kPatternLanguage =
    "a glob on full names, from end to end (* = any characters, ? = one, [ab] = one of a set; no regular expression)";

namespace {

using Names = std::vector<std::string>;

bool any_match(const std::string& pattern, const Names& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return matches_pattern(pattern, n); });
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

bool is_regex(const std::string& p) {
  const auto holds = [&](std::string_view part) { return p.find(part) != std::string::npos; };
  return p.starts_with("re:") || p.starts_with("regex:") || p.starts_with(".*") || p.starts_with("^") || p.ends_with("$") ||
         holds("\\") || holds(".+");
}

// What a regular expression says that a glob can say, too.
std::string without_regex(std::string p) {
  for (const char* prefix : {"re:", "regex:"})
    if (p.starts_with(prefix)) p.erase(0, std::string_view(prefix).size());
  if (p.starts_with("^"))
    p.erase(0, 1);
  else
    p.insert(0, "*");  // a regular expression may match anywhere
  if (p.ends_with("$"))
    p.pop_back();
  else
    p += "*";
  for (const char* any : {".*?", ".*", ".+", "\\d+", "\\d*", "[0-9]+", "\\w+", "(?:", "(", ")"})
    replace_all(p, any, "*");
  replace_all(p, "\\.", ".");
  while (p.find("**") != std::string::npos)
    replace_all(p, "**", "*");
  return p;
}

// Runs of letters, digits and underscores.
Names words_of(const std::string& text) {
  Names out;
  std::string word;
  for (const char c : text + ".") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_')
      word += c;
    else if (!word.empty())
      out.push_back(std::exchange(word, ""));
  }
  return out;
}

// "self_attn.q_proj", each once, in the order of the model.
Names kinds_of(const Names& names) {
  Names out;
  for (const std::string& name : names) {
    std::string kind = name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name;
    size_t at = 0;
    for (size_t i = 0; i + 1 < kind.size(); ++i)  // behind the number of the layer
      if (kind[i] == '.' && std::isdigit(static_cast<unsigned char>(kind[i + 1])) != 0) at = kind.find('.', i + 1) + 1;
    kind.erase(0, at);
    if (std::find(out.begin(), out.end(), kind) == out.end()) out.push_back(kind);
  }
  return out;
}

}  // namespace

bool matches_pattern(const std::string& pattern, const std::string& name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::string suggested_pattern(const std::string& pattern, const Names& names) {
  const auto stars = [](std::string p) {
    if (!p.starts_with("*")) p.insert(0, "*");
    if (!p.ends_with("*")) p += "*";
    return p;
  };
  Names candidates = {pattern + "*", "*" + pattern, stars(pattern)};
  // What can only be meant as a regular expression is not read as a glob first.
  const Names rewritten = {without_regex(pattern), stars(without_regex(pattern))};
  candidates.insert(is_regex(pattern) ? candidates.begin() : candidates.end(), rewritten.begin(), rewritten.end());
  for (const std::string& p : candidates)
    if (p.find_first_not_of('*') != std::string::npos && any_match(p, names)) return p;
  // A word that is spelled otherwise.
  Names known;
  for (const std::string& name : names)
    for (const std::string& word : words_of(name))
      if (std::find(known.begin(), known.end(), word) == known.end()) known.push_back(word);
  std::string repaired = without_regex(pattern);
  for (const std::string& word : words_of(repaired)) {
    const std::string near = nearest_name(word, known);
    if (std::find(known.begin(), known.end(), word) == known.end() && !near.empty()) replace_all(repaired, word, near);
  }
  return any_match(repaired, names) && repaired.find_first_not_of('*') != std::string::npos ? repaired : "";
}

void check_patterns(const Experiment& e, const CheckpointSource& model) {
  Names linear, others;
  for (const LinearSite& site : linear_sites(find_family(model.config()), model.config()))
    linear.push_back(site.name);
  for (const auto& [name, place] : model.tensor_files().places())
    if (std::find(linear.begin(), linear.end(), name) == linear.end()) others.push_back(name);
  others.push_back("lm_head.weight");  // not in the files of a model whose head is its embedding
  for (const auto& [key, patterns] : {std::pair<const char*, const Names&>{"include", e.include}, {"exclude", e.exclude}})
    for (const std::string& pattern : patterns) {
      if (any_match(pattern, linear)) continue;
      const std::string meant = suggested_pattern(pattern, linear);
      std::string remedy = meant.empty() ? "" : fmt::format("did you mean '{}'?", meant);
      if (meant.empty()) {
        const Names kinds = kinds_of(linear);
        remedy = any_match(pattern, others) || !suggested_pattern(pattern, others).empty()
                     ? "it names a tensor that is never quantized (output head, embeddings, norms and biases): leave it out"
                     : fmt::format("a layer's are {}; see `sageptq describe experiment`", fmt::join(kinds, ", "));
      }
      const Value* written = e.resolved.find(key);
      throw UserError("{}: {} '{}' matches none of the model's {} linear layers, {} ...; expected {}; {}",
                      written == nullptr ? e.source : written->where().str(), key, pattern, linear.size(),
                      linear.empty() ? "" : linear[0], kPatternLanguage, remedy);
    }
  if (!is_full_precision(e.pipeline) &&
      std::none_of(linear.begin(), linear.end(), [&](const std::string& n) { return e.selects(n); }))
    throw UserError(
        "{}: include and exclude leave no matrix of {}; expected at least one to quantize; see `sageptq describe experiment`",
        e.source, linear.size());
}

}  // namespace sage
