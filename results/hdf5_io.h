// The part of HDF5 that run files use: texts, attributes, tables and arrays, written to and read from memory images.
// Private to results/: nobody else sees HDF5.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sage::hdf5 {

// Any failure inside one image; run_file.cpp adds the path and what to do.
struct Problem : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Throws Problem(what + HDF5's own innermost reason). Call it before any other HDF5 function clears that reason.
[[noreturn]] void fail(const std::string& what);

// An open identifier and the function that closes it.
class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    if (id < 0) fail(what);
  }
  ~Handle() { reset(); }
  Handle(Handle&& o) noexcept : id_(std::exchange(o.id_, -1)), close_(o.close_) {}
  Handle& operator=(Handle&& o) noexcept {
    std::swap(id_, o.id_);
    std::swap(close_, o.close_);
    return *this;
  }
  operator hid_t() const { return id_; }
  void reset() {
    if (id_ >= 0) close_(std::exchange(id_, -1));
  }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

// HDF5 prints its error stack on stderr by default; messages of ours say it better.
class QuietErrors {
 public:
  QuietErrors();
  ~QuietErrors();
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// One column of a table, or one attribute (a column of one value).
struct Column {
  using Values = std::variant<std::vector<std::string>, std::vector<double>, std::vector<int64_t>, std::vector<uint64_t>,
                              std::vector<bool>>;
  std::string name;
  Values values;
};

// A file that lives in memory until image() hands out its bytes: the disk is never seen by HDF5, so neither a full disk nor a
// kill can meet it half-way. Default (oldest) file format. Objects carry no times: equal records give equal bytes.
class ImageWriter {
 public:
  explicit ImageWriter(uint64_t user_block);
  hid_t root() const { return file_; }
  std::string image();  // without the user block

 private:
  Handle file_;
};

// Opens (a copy of) an image for reading.
Handle open_image(std::string_view bytes);

Handle make_group(hid_t parent, const std::string& name);
Handle open_group(hid_t parent, const std::string& name);
bool exists(hid_t parent, const std::string& name);
std::vector<std::string> members(hid_t group);  // names, sorted

void write_text(hid_t group, const std::string& name, const std::string& text);
std::string read_text(hid_t group, const std::string& name);

void write_attributes(hid_t object, const std::vector<Column>& columns);
// Fills the attributes named in `columns`; absent ones are left alone.
void read_attributes(hid_t object, const std::string& where, std::vector<Column>& columns);

// 1-D compound dataset, texts of fixed length: pandas.DataFrame(f[name][:]) is the table.
void write_table(hid_t group, const std::string& name, const std::vector<Column>& columns);
// Fills the columns named in `columns` (the alternative held says the type wanted) and returns the number of rows. A column
// that the file lacks is left empty: files of older schemas stay readable.
uint64_t read_table(hid_t group, const std::string& name, std::vector<Column>& columns);

void write_array(hid_t group, const std::string& name, const std::vector<uint64_t>& shape, const std::vector<double>& values);
std::vector<double> read_array(hid_t group, const std::string& name, std::vector<uint64_t>* shape = nullptr);

}  // namespace sage::hdf5
