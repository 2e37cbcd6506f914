#include "core/util/file_kind.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "core/util/errors.h"

namespace sage {

namespace {

using namespace std::string_view_literals;

// The specification of both pointers bounds their size; a text that quotes one is longer.
constexpr uint64_t kMaxPointerBytes = 1024;

bool starts_with_nocase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(), [](char p, char c) {
           return p == std::tolower(static_cast<unsigned char>(c));
         });
}

std::string_view without_mark_and_space(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

bool is_pickle(std::string_view head) {
  return head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5 && head.find_first_of("}(]c\x95\x8a") == 2;
}

bool is_safetensors(std::string_view head, uint64_t size) {
  if (head.size() < 10 || head.substr(8, 2) != "{\""sv) return false;
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | static_cast<unsigned char>(head[static_cast<size_t>(i)]);
  return length >= 2 && length <= size - 8;
}

}  // namespace

std::optional<FileKind> file_kind(std::string_view head, uint64_t size, const std::string& path) {
  const std::filesystem::path file(path);
  const std::string folder = file.has_parent_path() ? file.parent_path().string() : ".";
  const std::string_view text = without_mark_and_space(head);
  if (size <= kMaxPointerBytes) {
    if (text.starts_with("version https://git-lfs.github.com/spec/") ||
        text.starts_with("version https://hawser.github.com/spec/"))
      return FileKind{"a Git LFS pointer, not the data itself", "run `git lfs pull` in " + folder, true};
    if (text.starts_with("# xet version"))
      return FileKind{"a Xet pointer, not the data itself", "run `git xet checkout` in " + folder + ", or fetch the file again",
                      true};
  }
  for (const std::string_view tag : {"<!doctype html"sv, "<html"sv, "<head"sv})
    if (starts_with_nocase(text, tag))
      return FileKind{"a web page (HTML)", "a log-in or error page was saved under this name, perhaps: fetch the file again",
                      true};
  if (text.starts_with("<?xml") && text.find("<Error>") != std::string_view::npos)
    return FileKind{"a server's error message (XML)", "fetch the file again", true};
  if (head.starts_with("\xFF\xFE"sv) || head.starts_with("\xFE\xFF"sv))
    return FileKind{"text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"};

  const std::string from_torch =
      "convert it with transformers: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR), or name a directory with "
      "safetensors files";
  if (head.starts_with("PK\x03\x04"sv)) return FileKind{"a zip archive (as torch.save writes pytorch_model.bin)", from_torch};
  if (is_pickle(head)) return FileKind{"a Python pickle (as older versions of torch.save write)", from_torch};
  if (head.starts_with("GGUF"))
    return FileKind{
        "a GGUF file",
        "convert it with transformers: from_pretrained(DIR, gguf_file=NAME) and save_pretrained, or name a directory with "
        "safetensors files"};
  if (is_safetensors(head, size)) return FileKind{"a safetensors file", "check the names of the files"};
  if (head.starts_with("\x1F\x8B"sv)) return FileKind{"gzip-compressed", "unpack it (gunzip)"};
  if (head.starts_with("\x28\xB5\x2F\xFD"sv)) return FileKind{"zstd-compressed", "unpack it (unzstd)"};
  if (head.starts_with("\xFD\x37zXZ"sv)) return FileKind{"xz-compressed", "unpack it (unxz)"};
  if (head.size() > 262 && head.substr(257, 5) == "ustar") return FileKind{"a tar archive", "unpack it (tar xf)"};
  if (head.starts_with("\x89HDF\r\n"sv)) return FileKind{"an HDF5 file", "check the path"};
  if (head.starts_with("\x93NUMPY"sv)) return FileKind{"a NumPy array", "check the path"};
  if (head.starts_with("%PDF-")) return FileKind{"a PDF document", "check the path"};
  return std::nullopt;
}

void refuse_other_kind(std::string_view head, uint64_t size, const std::string& path, const std::string& expected) {
  if (size == 0) throw ResourceError("{}: is empty (0 bytes); expected {}; fetch the file again", path, expected);
  if (const auto kind = file_kind(head, size, path))
    throw ResourceError("{}: is {}; expected {}; {}", path, kind->what, expected, kind->remedy);
}

}  // namespace sage
