#include "experiments/engine/expand.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "core/pipeline/pipeline_config.h"
#include "core/util/errors.h"

namespace sage {
namespace {

// A point before it is composed.
struct Draft {
  struct Axis {
    std::string path;
    Value value;
  };
  std::string name;  // "" = labelled by its axes
  std::optional<Value> extends;
  std::vector<Axis> axes;                           // shown in labels where they vary
  std::vector<std::pair<std::string, Value>> sets;  // all assignments, in order
};

const std::vector<std::string> kSweepKeys = {"grid", "zip", "list", "union", "exclude", "ablate"};

const Value& expect_map(const Value& v, const char* what) {
  if (!v.is_map() || v.members().empty())
    throw UserError(
        "{}: sweep.{} is not a map with entries; expected {}", v.where().str(), what,
        std::string_view(what) == "ablate" ? "{name: {dotted.key: value}, ...}" : "{dotted.key: [value, ...], ...}");
  return v;
}

const Value& expect_list(const Value& v, const char* what) {
  if (!v.is_list() || v.items().empty())
    throw UserError("{}: sweep.{} is not a list with entries; expected [{{...}}, ...]", v.where().str(), what);
  return v;
}

void check_path(const std::string& path, const Value& v) {
  const std::string top = path.substr(0, path.find('.'));
  if (top == "sweep" || top == "extends" || top == "name")
    throw UserError("{}: '{}' cannot be varied; expected a key of the experiment, such as pipeline.grouping or seed",
                    v.key_where().str(), path);
}

void check_count(size_t a, size_t b, const Value& where) {
  if (b != 0 && a > kMaxPoints / b)
    throw UserError("{}: the sweep has more than {} points; expected fewer; split it", where.where().str(), kMaxPoints);
}

const std::vector<Value>& axis_values(const Value& values, const std::string& path, const char* what) {
  check_path(path, values);
  if (!values.is_list() || values.items().empty())
    throw UserError("{}: sweep.{}.{} is not a list with values; expected [value, value, ...]", values.where().str(), what,
                    path);
  return values.items();
}

std::vector<Draft> zip_drafts(const Value& zip) {
  expect_map(zip, "zip");
  std::vector<Draft> out;
  const Value::Member* first = nullptr;
  for (const auto& member : zip.members()) {
    const auto& values = axis_values(member.second, member.first, "zip");
    if (first == nullptr) {
      first = &member;
      check_count(values.size(), 1, zip);
      out.resize(values.size());
    } else if (values.size() != out.size()) {
      throw UserError("{}: sweep.zip.{} has {} values, {} has {}; expected equal lengths", member.second.where().str(),
                      member.first, values.size(), first->first, out.size());
    }
    for (size_t i = 0; i < values.size(); ++i) {
      out[i].axes.push_back({member.first, values[i]});
      out[i].sets.emplace_back(member.first, values[i]);
    }
  }
  return out;
}

std::vector<Draft> grid_drafts(const Value& grid) {
  expect_map(grid, "grid");
  std::vector<Draft> out(1);
  for (const auto& [path, list] : grid.members()) {
    const auto& values = axis_values(list, path, "grid");
    check_count(out.size(), values.size(), grid);
    std::vector<Draft> next;
    for (const Draft& d : out)
      for (const Value& v : values) {
        next.push_back(d);
        next.back().axes.push_back({path, v});
        next.back().sets.emplace_back(path, v);
      }
    out = std::move(next);
  }
  return out;
}

Draft assignments(const Value& entry, const char* what, std::string name) {
  if (!entry.is_map())
    throw UserError("{}: an entry of sweep.{} is not a map; expected {{dotted.key: value, ...}}", entry.where().str(), what);
  Draft d;
  d.name = std::move(name);
  for (const auto& [key, v] : entry.members()) {
    if (key == "name" && std::string_view(what) == "list") {
      if (!v.is_scalar() || v.text().empty())
        throw UserError("{}: a name that is no text; expected `name: TEXT`", v.where().str());
      d.name = v.text();
    } else if (key == "extends") {
      d.extends = v;
    } else {
      check_path(key, v);
      d.sets.emplace_back(key, v);
    }
  }
  if (d.name.empty())
    for (const auto& [path, v] : d.sets)
      d.axes.push_back({path, v});
  if (d.name.empty() && d.extends) d.axes.insert(d.axes.begin(), Draft::Axis{"extends", *d.extends});
  return d;
}

std::vector<Draft> list_drafts(const Value& list) {
  std::vector<Draft> out;
  for (const Value& entry : expect_list(list, "list").items())
    out.push_back(assignments(entry, "list", ""));
  check_count(out.size(), 1, list);
  return out;
}

std::vector<Draft> ablate_drafts(const Value& ablate) {
  std::vector<Draft> out(1);
  out[0].name = "base";
  for (const auto& [name, entry] : expect_map(ablate, "ablate").members())
    out.push_back(assignments(entry, "ablate", name));
  check_count(out.size(), 1, ablate);
  return out;
}

std::vector<Draft> product(const std::vector<Draft>& a, const std::vector<Draft>& b, const Value& where) {
  check_count(a.size(), b.size(), where);
  std::vector<Draft> out;
  for (const Draft& x : a)
    for (const Draft& y : b) {
      Draft d = x;
      if (!y.name.empty()) d.name += (d.name.empty() ? "" : ", ") + y.name;
      if (y.extends) d.extends = y.extends;
      d.axes.insert(d.axes.end(), y.axes.begin(), y.axes.end());
      d.sets.insert(d.sets.end(), y.sets.begin(), y.sets.end());
      out.push_back(std::move(d));
    }
  return out;
}

// --- labels ------------------------------------------------------------------------------------------------------------------

std::string value_text(const Value& v, bool all_names) {
  switch (v.kind()) {
    case Value::Kind::kNull: return "~";
    case Value::Kind::kScalar: return v.text();
    case Value::Kind::kList: {
      std::string text;
      for (const Value& i : v.items())
        text += (text.empty() ? "" : ",") + value_text(i, all_names);
      return "[" + text + "]";
    }
    case Value::Kind::kMap: break;
  }
  const Value* type = v.find("type");
  std::string inside;
  const bool one = type != nullptr && v.members().size() == 2 && !all_names;
  for (const auto& [key, member] : v.members()) {
    if (key == "type") continue;
    inside += (inside.empty() ? "" : ",") + (one ? "" : key + "=") + value_text(member, all_names);
  }
  if (type == nullptr || !type->is_scalar()) return "{" + inside + "}";
  return type->text() + (inside.empty() ? "" : "(" + inside + ")");
}

std::string last_parts(const std::string& path, int parts) {
  size_t at = path.size();
  for (int i = 0; i < parts && at != std::string::npos && at > 0; ++i)
    at = path.rfind('.', at - 1);
  return at == std::string::npos || at == 0 ? path : path.substr(at + 1);
}

// pipeline.grouping.type is about the grouping.
std::string shown_path(const std::string& path) { return path.ends_with(".type") ? path.substr(0, path.size() - 5) : path; }

void label_drafts(std::vector<Draft>& drafts, std::vector<std::string>& labels) {
  std::map<std::string, std::set<std::string>> values;  // path -> canonical values
  std::map<std::string, size_t> uses;
  std::map<std::string, std::set<std::string>> short_texts;
  for (const Draft& d : drafts)
    for (const auto& axis : d.axes) {
      values[axis.path].insert(canonical_json(axis.value));
      short_texts[axis.path].insert(value_text(axis.value, false));
      ++uses[axis.path];
    }
  std::map<std::string, std::string> names;  // path -> shortest ending no other varying axis has
  for (const auto& [path, distinct] : values)
    for (int parts = 1; parts <= 8; ++parts) {
      const std::string name = last_parts(shown_path(path), parts);
      bool clash = false;
      for (const auto& [other, unused] : values)
        clash |= other != path && shown_path(other) != shown_path(path) && last_parts(shown_path(other), parts) == name;
      names[path] = name;
      if (!clash) break;
    }
  for (const Draft& d : drafts) {
    std::string label = d.name;
    for (const auto& axis : d.axes) {
      const bool varies = values[axis.path].size() > 1 || uses[axis.path] < drafts.size();
      if (!varies) continue;
      const bool all_names = short_texts[axis.path].size() < values[axis.path].size();
      label += (label.empty() ? "" : ", ") + names[axis.path] + "=" + value_text(axis.value, all_names);
    }
    labels.push_back(std::move(label));
  }
}

// --- composition -------------------------------------------------------------------------------------------------------------

struct Composed {
  std::string label;
  Value root;
};

bool same_scalar(const std::string& a, const std::string& b) {
  if (a == b) return true;
  double x = 0, y = 0;
  const auto [ex, errx] = std::from_chars(a.data(), a.data() + a.size(), x);
  const auto [ey, erry] = std::from_chars(b.data(), b.data() + b.size(), y);
  return errx == std::errc() && erry == std::errc() && ex == a.data() + a.size() && ey == b.data() + b.size() && x == y;
}

// Does `value` have all that `pattern` asks for? A bare name matches a component of that type.
bool matches(const Value& value, const Value& pattern) {
  if (pattern.is_map()) {
    for (const auto& [key, p] : pattern.members()) {
      const Value* v = value.find_path(key);
      if (v == nullptr || !matches(*v, p)) return false;
    }
    return value.is_map();
  }
  if (pattern.is_scalar()) {
    const Value* v = value.is_map() && value.find("type") != nullptr ? value.find("type") : &value;
    return v->is_scalar() && same_scalar(v->text(), pattern.text());
  }
  return canonical_json(value) == canonical_json(pattern);
}

class Sweep {
 public:
  Sweep(const LoadedExperiment& loaded, std::vector<std::string>& notes) : loaded_(loaded), notes_(notes), base_(loaded.root) {
    base_.erase("sweep");
  }

  std::vector<Composed> block(const Value& sweep) {
    if (!sweep.is_map())
      throw UserError("{}: sweep is not a map; expected keys of: grid, zip, list, union, exclude, ablate", sweep.where().str());
    for (const auto& [key, v] : sweep.members())
      if (std::find(kSweepKeys.begin(), kSweepKeys.end(), key) == kSweepKeys.end())
        config_detail::fail_unknown_key(v, key, "sweep", kSweepKeys);
    std::vector<Draft> drafts(1);
    bool any = false;
    const auto multiply = [&](const char* key, auto make) {
      const Value* part = sweep.find(key);
      if (part == nullptr) return;
      drafts = product(drafts, make(*part), *part);
      any = true;
    };
    multiply("list", list_drafts);
    multiply("ablate", ablate_drafts);
    multiply("zip", zip_drafts);
    multiply("grid", grid_drafts);
    std::vector<Composed> out;
    if (any) {
      std::vector<std::string> labels;
      label_drafts(drafts, labels);
      for (size_t i = 0; i < drafts.size(); ++i)
        out.push_back({labels[i], compose(drafts[i])});
    }
    if (const Value* blocks = sweep.find("union")) {
      for (const Value& b : expect_list(*blocks, "union").items()) {
        std::vector<Composed> more = block(b);
        check_count(out.size() + more.size(), 1, b);
        std::move(more.begin(), more.end(), std::back_inserter(out));
      }
      any = true;
    }
    if (!any)
      throw UserError("{}: sweep generates no points; expected one of: grid, zip, list, union, ablate", sweep.where().str());
    if (const Value* exclude = sweep.find("exclude")) remove(out, *exclude);
    return out;
  }

 private:
  Value compose(const Draft& d) {
    Value root = base_;
    if (d.extends) {
      Value parent = load_extended(*d.extends);
      parent.erase("sweep");
      if (parent.find("pipeline") != nullptr) {
        if (const Value* own = root.find("pipeline"); own != nullptr && noted_.insert(d.extends->where().str()).second)
          notes_.push_back(fmt::format("{}: the pipeline comes from '{}', not from {}", d.extends->where().str(),
                                       value_text(*d.extends, false), own->key_where().str()));
        root.erase("pipeline");
      }
      merge_into(parent, root);
      parent.set_where(root.where());
      root = std::move(parent);
    }
    std::vector<std::pair<std::string, Value>> sets = d.sets;
    sort_assignments(sets);
    for (const auto& [path, v] : sets) {
      for (const auto& [set, value] : loaded_.overrides)
        if (set == path || path.starts_with(set + "."))
          throw UserError(
              "{}: the sweep varies '{}' at {}; expected a key that it leaves alone; change the file, or set sweep itself",
              value.where().str(), path, v.where().str());
      set_path(root, path, v);
      if (Value* pipeline = root.find("pipeline")) expand_bare_names(*pipeline);
    }
    apply_overrides(root, loaded_.overrides);
    return root;
  }

  void remove(std::vector<Composed>& points, const Value& exclude) {
    for (const Value& pattern : expect_list(exclude, "exclude").items()) {
      if (!pattern.is_map() || pattern.members().empty())
        throw UserError("{}: an entry of sweep.exclude is not a map; expected {{dotted.key: value, ...}}",
                        pattern.where().str());
      const size_t before = points.size();
      std::erase_if(points, [&](const Composed& p) { return matches(p.root, pattern); });
      if (points.size() == before)
        notes_.push_back(fmt::format("{}: this entry of sweep.exclude matches no point", pattern.where().str()));
    }
    if (points.empty()) throw UserError("{}: sweep.exclude leaves no point; expected at least one", exclude.where().str());
  }

  const LoadedExperiment& loaded_;
  std::vector<std::string>& notes_;
  std::set<std::string> noted_;
  Value base_;
};

}  // namespace

Expansion expand(const LoadedExperiment& loaded, const Registries& registries, const EvalOverrides& evaluations) {
  Expansion out;
  std::vector<Composed> composed;
  const Value* sweep = loaded.root.find("sweep");
  const bool swept = sweep != nullptr && !sweep->is_null();
  if (swept) {
    composed = Sweep(loaded, out.notes).block(*sweep);
  } else {
    Value root = loaded.root;
    root.erase("sweep");
    apply_overrides(root, loaded.overrides);
    composed.push_back({"", std::move(root)});
  }

  std::map<std::string, std::string> seen;  // key -> label
  std::map<std::string, int> labels;
  std::vector<std::pair<std::string, std::vector<std::string>>> changed;  // label, what the overrides did to its evaluations
  for (Composed& c : composed) {
    Point p;
    if (!c.label.empty()) c.root.set("label", Value::scalar(c.label));
    try {
      p.experiment = resolve(c.root, loaded.source, registries);
    } catch (const UserError& e) {
      if (c.label.empty()) throw;
      throw UserError("{} (in the point '{}')", e.what(), c.label);
    }
    changed.emplace_back(p.experiment.label, std::vector<std::string>());
    override_evaluations(p.experiment, evaluations, changed.back().second);
    Value key = p.experiment.resolved;
    for (const char* name : {"name", "label", "about"})
      key.erase(name);
    p.key = canonical_json(key);
    p.label = p.experiment.label;
    if (const auto [it, fresh] = seen.emplace(p.key, p.label); !fresh) {
      out.notes.push_back(p.label == it->second
                              ? fmt::format("two points called '{}' are the same experiment, which runs once", p.label)
                              : fmt::format("'{}' is the same experiment as '{}' and runs once", p.label, it->second));
      continue;
    }
    if (const int n = ++labels[p.label]; n > 1) {
      p.label += fmt::format(" #{}", n);
      p.experiment.label = p.label;
      p.experiment.resolved.set("label", Value::scalar(p.label));
    }
    out.points.push_back(std::move(p));
  }
  const bool alike = std::all_of(changed.begin(), changed.end(), [&](const auto& c) { return c.second == changed[0].second; });
  for (const auto& [label, changes] : changed) {
    for (const std::string& change : changes)
      out.notes.push_back(alike ? change : fmt::format("'{}': {}", label, change));
    if (alike) break;
  }
  out.name = out.points.front().experiment.name;
  return out;
}

Expansion expand(const std::string& file_or_preset, const std::vector<std::string>& overrides, const Registries& registries,
                 const EvalOverrides& evaluations) {
  return expand(load_experiment(file_or_preset, overrides), registries, evaluations);
}

}  // namespace sage
