// sageptq tokenize: text -> ids and back, to compare a model's tokenizer with other tools.
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/model/tokenizer.h"
#include "core/util/files.h"
#include "core/util/table.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/runner.h"

namespace sage {

namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

// One text and its ids; `decoded` is what the ids spell.
struct Tokenized {
  std::string text, decoded;
  std::vector<int32_t> ids;
};

std::vector<int32_t> parse_ids(const std::string& list) {
  std::vector<int32_t> ids;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at != end) {
    if (*at == ',' || *at == ' ' || *at == '[' || *at == ']' || *at == '\n') {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [rest, error] = std::from_chars(at, end, id);
    if (error != std::errc{})
      throw UserError("--decode: found \"{}\"; expected token ids; e.g. --decode 19556,905",
                      std::string(at, end).substr(0, 40));
    ids.push_back(id);
    at = rest;
  }
  return ids;
}

// Strings that a shell cannot pass (NUL bytes, thousands of them) come in a JSON file.
std::vector<std::string> read_strings(const std::string& path) {
  const auto refuse = [&] {
    return UserError("{}: not a JSON list of strings; expected e.g. [\"Hello\", \"world\"]; correct the file", path);
  };
  const Json json = Json::parse(read_file(path, uint64_t{256} << 20), nullptr, false);
  if (!json.is_array()) throw refuse();
  std::vector<std::string> out;
  for (const Json& s : json) {
    if (!s.is_string()) throw refuse();
    out.push_back(s.get<std::string>());
  }
  return out;
}

std::string joined(const std::vector<int32_t>& ids) {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i)
    out += fmt::format("{}{}", i == 0 ? "" : " ", ids[i]);
  return out;
}

std::string as_json(const Tokenizer& tokenizer, const std::string& path, bool special, const std::vector<Tokenized>& results) {
  Json out = {{"tokenizer", path},
              {"digest", tokenizer.digest()},
              {"vocabulary_size", tokenizer.vocabulary_size()},
              {"special", special},
              {"results", Json::array()}};
  for (const Tokenized& r : results)
    out["results"].push_back({{"text", r.text}, {"ids", r.ids}, {"tokens", r.ids.size()}, {"decoded", r.decoded}});
  return out.dump() + "\n";
}

// One row per token: what a person wants to see.
std::string as_table(const Tokenizer& tokenizer, const std::vector<Tokenized>& results, TableFormat format) {
  Table table({{"text", true, 0}, {"position", true, 0}, {"id", true, 0}, {"token", false, 0}});
  for (size_t i = 0; i < results.size(); ++i) {
    for (size_t k = 0; k < results[i].ids.size(); ++k) {
      const int32_t id = results[i].ids[k];
      table.add_row(
          {static_cast<double>(i), static_cast<double>(k), static_cast<double>(id), tokenizer.token_of(id).value_or("")});
    }
  }
  return table.render(format);
}

ExitCode run(const Program&, const po::variables_map& given) {
  if (given.count("model") + given.count("tokenizer") != 1)
    throw UserError("tokenize: found {} of --model and --tokenizer; expected exactly one; e.g. --tokenizer tokenizer.json",
                    given.count("model") + given.count("tokenizer"));
  const std::string path = given.count("tokenizer") ? given["tokenizer"].as<std::string>()
                                                    : resolve_model_path(given["model"].as<std::string>());
  const TableFormat format = parse_table_format(given["format"].as<std::string>());
  const bool special = given["special"].as<bool>();
  std::vector<std::string> texts;
  if (given.count("string")) texts = given["string"].as<std::vector<std::string>>();
  if (given.count("strings-file")) {
    for (std::string& s : read_strings(given["strings-file"].as<std::string>()))
      texts.push_back(std::move(s));
  }
  if (given.count("text")) texts.push_back(read_file(given["text"].as<std::string>()));
  if (texts.empty() && !given.count("decode"))
    throw UserError(
        "tokenize: found no text; expected --text, --string, --strings-file or --decode; e.g. --string 'Hello world'");

  const Tokenizer tokenizer = given.count("tokenizer") ? Tokenizer::from_file(path) : Tokenizer::from_folder(path);
  std::vector<Tokenized> results;
  for (std::string& text : texts) {
    Tokenized r;
    r.ids = tokenizer.encode(text, special);
    r.decoded = tokenizer.decode(r.ids);
    r.text = std::move(text);
    results.push_back(std::move(r));
  }
  if (given.count("decode")) {
    Tokenized r;
    r.ids = parse_ids(given["decode"].as<std::string>());
    r.decoded = r.text = tokenizer.decode(r.ids);
    results.push_back(std::move(r));
  }
  std::string out;
  if (format == TableFormat::kJson) {
    out = as_json(tokenizer, path, special, results);
  } else {
    out = as_table(tokenizer, results, format);
    if (format == TableFormat::kText) {
      for (const Tokenized& r : results)
        out += fmt::format("{} tokens: {}\n", r.ids.size(), joined(r.ids));
      if (given.count("decode")) out += results.back().decoded + "\n";
    }
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
  return ExitCode::kDone;
}

}  // namespace

Verb tokenize_verb() {
  Verb verb;
  verb.name = "tokenize";
  verb.summary = "Turns text into token ids and back with a model's tokenizer.";
  verb.synopsis =
      "--model DIR|--tokenizer FILE [--text FILE] [--string S]... [--special] [--decode IDS] [--format table|json|csv]";
  verb.declare = [](po::options_description& options, po::positional_options_description&) {
    auto add = options.add_options();
    add("model", po::value<std::string>(),
        "model directory whose tokenizer is used; `default` = the fetched default model");
    add("tokenizer", po::value<std::string>(), "a tokenizer.json");
    add("text", po::value<std::string>(), "file to tokenize as one text (.gz is unpacked)");
    add("string", po::value<std::vector<std::string>>()->composing(), "a string to tokenize; may be repeated");
    add("strings-file", po::value<std::string>(), "JSON file with a list of strings to tokenize");
    add("special", po::bool_switch(), "add what the file's template adds (BOS, ...)");
    add("decode", po::value<std::string>(), "token ids to turn into text, e.g. 19556,905");
    add("format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
  };
  verb.run = run;
  return verb;
}

}  // namespace sage
