#include "core/util/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

#include "core/util/errors.h"
#include "core/util/write_error.h"

namespace sage {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string read_file(const std::string& path, uint64_t max_bytes) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) throw ResourceError("{}: cannot be read ({}); expected a file; check the path", path, std::strerror(errno));
  if (S_ISDIR(st.st_mode)) throw ResourceError("{}: is a folder; expected a file; name a file inside it", path);
  const auto too_large = [&] {
    return ResourceError("{}: holds more than {} bytes; expected a smaller file; check that it is the right one", path, max_bytes);
  };
  // zlib reads plain files unchanged, so one loop serves both.
  std::unique_ptr<gzFile_s, int (*)(gzFile)> in(gzopen(path.c_str(), "rb"), gzclose);
  if (!in) throw ResourceError("{}: cannot be opened ({}); expected a readable file; check its permissions", path, std::strerror(errno));
  gzbuffer(in.get(), 1 << 18);
  const bool gz = path.size() > 3 && path.compare(path.size() - 3, 3, ".gz") == 0;
  std::string out;
  if (!gz) {
    if (static_cast<uint64_t>(st.st_size) > max_bytes) throw too_large();
    std::ifstream plain(path, std::ios::binary);
    out.resize(static_cast<size_t>(st.st_size));
    if (!plain.read(out.data(), st.st_size)) throw ResourceError("{}: could not be read to its end; expected {} bytes; try again", path, st.st_size);
    return out;
  }
  char buffer[1 << 16];
  for (;;) {
    const int n = gzread(in.get(), buffer, sizeof buffer);
    if (n < 0) {
      int code = 0;
      throw ResourceError("{}: is not valid gzip data ({}); expected a complete .gz file; fetch it again", path, gzerror(in.get(), &code));
    }
    if (n == 0) break;
    out.append(buffer, static_cast<size_t>(n));
    if (out.size() > max_bytes) throw too_large();
  }
  int code = 0;
  gzerror(in.get(), &code);
  if (code == Z_BUF_ERROR) throw ResourceError("{}: ends in the middle of its gzip data; expected a complete .gz file; fetch it again", path);
  return out;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), part_(fmt::format("{}.part.{}", path_, getpid())) {
  file_ = std::fopen(part_.c_str(), "wb");
  if (file_ == nullptr) throw WriteError("{}: cannot be created ({}); expected a writable folder; choose another output path", part_, std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) {
    std::fclose(file_);
    ::unlink(part_.c_str());
  }
}

void AtomicFile::fail(const std::string& what) {
  const int code = errno;
  if (file_ != nullptr) std::fclose(file_);
  file_ = nullptr;
  ::unlink(part_.c_str());
  throw WriteError("{}: {} failed ({}); expected room for the whole file; free some space and run the same command again", path_, what, std::strerror(code));
}

void AtomicFile::write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail("writing");
  written_ += bytes.size();
}
void AtomicFile::write(std::span<const std::byte> bytes) { write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())); }

void AtomicFile::commit() {
  if (std::fflush(file_) != 0) fail("writing");
  if (fsync(fileno(file_)) != 0) fail("fsync");
  std::FILE* f = std::exchange(file_, nullptr);
  if (std::fclose(f) != 0) fail("closing");
  if (std::rename(part_.c_str(), path_.c_str()) != 0) fail("renaming");
  commit_part("", path_);
}

void commit_part(const std::string& part, const std::string& path) {
  if (!part.empty()) {
    const int fd = ::open(part.c_str(), O_RDONLY);
    if (fd < 0 || fsync(fd) != 0) {
      const int code = errno;
      if (fd >= 0) ::close(fd);
      throw WriteError("{}: fsync failed ({}); expected the disk to take the file; free some space and run the same command again", part, std::strerror(code));
    }
    ::close(fd);
    if (std::rename(part.c_str(), path.c_str()) != 0)
      throw WriteError("{}: cannot be renamed to {} ({}); expected a writable folder; check its permissions", part, path, std::strerror(errno));
  }
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder.assign(1, '.');
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd >= 0) {
    fsync(fd);
    ::close(fd);
  }
}

void write_file_atomically(const std::string& path, std::string_view bytes) {
  AtomicFile f(path);
  f.write(bytes);
  f.commit();
}

void make_folders(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec) throw WriteError("{}: the folder cannot be made ({}); expected a writable place; choose another path", path, ec.message());
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) throw ResourceError("{}: cannot be opened ({}); expected a readable file; check the path", path, std::strerror(errno));
  struct stat st {};
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    throw ResourceError("{}: is not a regular file; expected one that can be mapped; check the path", path);
  }
  size_ = static_cast<size_t>(st.st_size);
  if (size_ > 0) {
    void* p = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
      const int code = errno;
      ::close(fd);
      throw ResourceError("{}: cannot be mapped ({}); expected {} bytes of address space; check ulimit -v", path, std::strerror(code), size_);
    }
    data_ = static_cast<const std::byte*>(p);
  }
  ::close(fd);
}
MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}
MappedFile::MappedFile(MappedFile&& o) noexcept
    : path_(std::move(o.path_)), data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  return *this;
}
void MappedFile::release(uint64_t offset, uint64_t length) const {
  if (data_ == nullptr || offset >= size_) return;
  const uint64_t page = 4096, first = (offset + page - 1) / page * page;
  const uint64_t last = std::min<uint64_t>(size_, offset + length) / page * page;
  if (last > first) madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr); }
Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }
void Sha256::update(const void* data, size_t bytes) { EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, bytes); }
std::string Sha256::hex() {
  unsigned char digest[32];
  unsigned n = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest, &n);
  std::string out;
  for (unsigned char c : digest) out += fmt::format("{:02x}", c);
  return out;
}
std::string sha256_hex(std::string_view bytes) {
  Sha256 h;
  h.update(bytes.data(), bytes.size());
  return h.hex();
}
std::string sha256_hex_of_file(const std::string& path) {
  MappedFile f(path);
  Sha256 h;
  constexpr size_t kStep = size_t{16} << 20;
  for (size_t at = 0; at < f.bytes().size(); at += kStep) {
    const size_t n = std::min(kStep, f.bytes().size() - at);
    h.update(f.bytes().data() + at, n);
    f.release(at, n);
  }
  return h.hex();
}

MemoryUse memory_use() {
  MemoryUse m;
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    const auto kib = [&] { return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10) * 1024; };
    if (line.rfind("VmRSS:", 0) == 0) m.resident = kib();
    if (line.rfind("VmHWM:", 0) == 0) m.peak_resident = kib();
    if (line.rfind("RssAnon:", 0) == 0) m.anonymous = kib();
  }
  return m;
}

std::string cache_folder() {
  if (const char* p = std::getenv("SAGEPTQ_CACHE"); p != nullptr && *p != '\0') return p;
  if (const char* p = std::getenv("XDG_CACHE_HOME"); p != nullptr && *p != '\0') return std::string(p) + "/sage-ptq";
  if (const char* p = std::getenv("HOME"); p != nullptr && *p != '\0') return std::string(p) + "/.cache/sage-ptq";
  throw ResourceError("cache folder: neither SAGEPTQ_CACHE nor HOME is set; expected one of them; export SAGEPTQ_CACHE=DIR");
}

}  // namespace sage
