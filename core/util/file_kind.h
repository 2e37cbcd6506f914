// What a file is that was taken for another, by its first bytes. Every reader of files from elsewhere asks here before it says
// that a file is damaged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sage {

struct FileKind {
  std::string what;      // "a Git LFS pointer, not the data"
  std::string remedy;    // "run `git lfs pull` in DIR"
  bool is_text = false;  // of UTF-8 text: whether it can be what was meant depends on the reader
};

// head: the file's first bytes (512 suffice); size: of all of it. Nothing for what is none of the kinds known: Git LFS and Xet
// pointers, web pages, UTF-16 text, gzip, zip (what torch.save writes), pickle, GGUF, safetensors, HDF5, NumPy, zstd, xz, tar,
// PDF.
std::optional<FileKind> file_kind(std::string_view head, uint64_t size, const std::string& path);

// ResourceError "PATH: is WHAT; expected EXPECTED; REMEDY" where file_kind knows it, or where it is empty.
void refuse_other_kind(std::string_view head, uint64_t size, const std::string& path, const std::string& expected);

}  // namespace sage
