// Files: whole reads with limits, memory maps, and writes that never leave half a file under its final name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

namespace sage {

// Monotonic seconds.
double now_seconds();

// Whole file; ResourceError if absent, unreadable or larger than max_bytes. A name ending in .gz is decompressed (the limit
// holds for the decompressed size too).
std::string read_file(const std::string& path, uint64_t max_bytes = uint64_t{1} << 32);

// Writes to PATH.part.<pid>, then fsync, rename, fsync of the folder. Destroyed before commit(): the part is removed.
// Any failure (disk full, ...) is a ResourceError naming the path, and removes the part.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes);
  uint64_t bytes_written() const { return written_; }
  void commit();
  const std::string& part_path() const { return part_; }  // for libraries that write by themselves (HDF5)

 private:
  [[noreturn]] void fail(const std::string& what);
  std::string path_, part_;
  std::FILE* file_ = nullptr;
  uint64_t written_ = 0;
};
void write_file_atomically(const std::string& path, std::string_view bytes);
// fsync + rename + fsync of the folder, for a part written by somebody else.
void commit_part(const std::string& part, const std::string& path);
// mkdir -p; ResourceError naming the first folder that could not be made.
void make_folders(const std::string& path);

// Read-only map of a whole file. An empty file maps to an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Tells the kernel that [offset, offset+length) is no longer needed, so that streaming a model larger than RAM stays small.
  void release(uint64_t offset, uint64_t length) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// SHA-256 as 64 hex digits.
std::string sha256_hex(std::string_view bytes);
std::string sha256_hex_of_file(const std::string& path);
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(const void* data, size_t bytes);
  std::string hex();  // once

 private:
  void* context_;
};

// Current and peak resident set of this process in bytes; anonymous = without page cache of mapped files.
struct MemoryUse {
  uint64_t resident = 0;
  uint64_t peak_resident = 0;
  uint64_t anonymous = 0;
};
MemoryUse memory_use();

// Folder for fetched models and caches: $SAGEPTQ_CACHE, or $XDG_CACHE_HOME/sage-ptq, or ~/.cache/sage-ptq.
std::string cache_folder();

}  // namespace sage
