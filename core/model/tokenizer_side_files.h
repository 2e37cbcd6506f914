// The files beside a tokenizer's vocabulary: tokenizer_config.json, special_tokens_map.json, added_tokens.json. Internal to the
// tokenizer_*.cpp files.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/model/tokenizer_node.h"
#include "core/model/tokenizer_parts.h"

namespace sage::tok {

inline constexpr const char* kDefaultSpecial = "<|endoftext|>";  // GPT-2's own, where no file names another
using NamedDefaults = std::map<std::string, std::string>;        // "bos_token" -> its text, where no file gives one

// The texts of those that a template may put around a text.
struct SpecialTexts {
  std::optional<std::string> bos, eos;
};

class SideFiles {
 public:
  // ResourceError: not JSON objects, settings of another type than they should have.
  SideFiles(const Files& files, const std::string& folder);
  ~SideFiles();
  Node config() const;
  Node map() const;
  Node added() const;
  // Without the ending "Fast"; "" where none is given.
  std::string tokenizer_class() const;
  // Adds to t what these files name, after t's own tokens.
  SpecialTexts add_tokens(const NamedDefaults& by_name, Loaded& t) const;

 private:
  Node node(const Json& json, const char* name) const;
  std::string folder_;
  std::unique_ptr<Json> config_, map_, added_;
};

// Of a whole file's node: the file's path.
std::string file_of(const Node& root);

}  // namespace sage::tok
