// Which runs a table is about: words of the command line -> records.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/run_file.h"
#include "results/store.h"

namespace sage {

// A row to be: a run, or a place where one is missing and why.
struct SelectedRun {
  std::string label;
  std::string path;                 // empty if there is no file
  std::optional<RunRecord> record;  // complete or failed
  std::string problem;              // why there is no record
  size_t count = 1;                 // runs this one stands for (seeds.h)
  bool pending = false;             // no record because it has not been run yet
};

// Each word is one of
//   a run file (*.h5); a folder holding exactly one run file, or runs/ (a store), or sweep.json;
//   a sweep manifest (*.json: {"name", "points": [{"label", "key", "run_file"}]}, run_file relative to the manifest);
//   a text file of keys, one a line, '#' begins a comment; the name of a sweep of `store`; the beginning (4 digits or more) of
//   a run key of `store`.
// No words: every run of the store. Errors: UserError for a word that is none of these, ResourceError for unreadable files.
// A point of a sweep or store whose file is absent or damaged is a row with a `problem`, so that one bad file never hides the
// others; a run file named directly must be readable.
std::vector<SelectedRun> select_runs(const std::vector<std::string>& words, const Store& store, RunParts parts);

}  // namespace sage
