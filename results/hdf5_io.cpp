#include "results/hdf5_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace sage::hdf5 {
namespace {

// No run of ours comes near these; a file that does is damaged or hostile, and must not make us allocate what it asks for.
constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxTableBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxRows = 10'000'000;
constexpr uint64_t kMaxMembers = 1'000'000;
constexpr uint64_t kMaxExpansion = 1100;         // deflate reaches 1032
constexpr uint64_t kMaxAttributeBytes = 60'000;  // the oldest file format stops at 64 KiB
constexpr uint64_t kCompressFrom = 1 << 14;

herr_t innermost(unsigned n, const H5E_error2_t* e, void* out) {
  if (n == 0 && e->desc != nullptr) *static_cast<std::string*>(out) = e->desc;
  return 0;
}

Handle text_type(uint64_t bytes, const std::string& what) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, what);
  if (H5Tset_size(type, std::max<uint64_t>(1, bytes)) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
      H5Tset_cset(type, H5T_CSET_UTF8) < 0)
    fail(what);
  return type;
}

// What a column is in memory while HDF5 moves it.
struct Layout {
  Handle type;
  uint64_t bytes = 0;
};

Layout layout_of(const Column& c) {
  const std::string what = "column '" + c.name + "'";
  const auto native = [&](hid_t id, uint64_t bytes) { return Layout{Handle(H5Tcopy(id), H5Tclose, what), bytes}; };
  if (const auto* texts = std::get_if<std::vector<std::string>>(&c.values)) {
    uint64_t longest = 1;
    for (const std::string& t : *texts)
      longest = std::max<uint64_t>(longest, t.size());
    return {text_type(longest, what), longest};
  }
  if (std::holds_alternative<std::vector<double>>(c.values)) return native(H5T_NATIVE_DOUBLE, 8);
  if (std::holds_alternative<std::vector<int64_t>>(c.values)) return native(H5T_NATIVE_INT64, 8);
  if (std::holds_alternative<std::vector<uint64_t>>(c.values)) return native(H5T_NATIVE_UINT64, 8);
  return native(H5T_NATIVE_UINT8, 1);
}

uint64_t rows_of(const Column& c) {
  return std::visit([](const auto& v) { return static_cast<uint64_t>(v.size()); }, c.values);
}

void store_cell(const Column& c, uint64_t row, std::byte* out) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>)
          std::memcpy(out, v[row].data(), v[row].size());
        else if constexpr (std::is_same_v<T, std::vector<bool>>)
          *out = std::byte{v[row]};
        else
          std::memcpy(out, &v[row], sizeof v[row]);
      },
      c.values);
}

void load_cell(Column& c, uint64_t bytes, const std::byte* in) {
  std::visit(
      [&](auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          const char* text = reinterpret_cast<const char*>(in);
          v.emplace_back(text, strnlen(text, bytes));
        } else if constexpr (std::is_same_v<T, std::vector<bool>>) {
          v.push_back(*in != std::byte{0});
        } else {
          typename T::value_type x;
          std::memcpy(&x, in, sizeof x);
          v.push_back(x);
        }
      },
      c.values);
}

void clear(Column& c) {
  std::visit([](auto& v) { v.clear(); }, c.values);
}

// The memory type in which to read a value stored as `file_type`, or a Problem if a person swapped text and number.
Layout layout_for_reading(const Column& c, hid_t file_type, const std::string& what) {
  const H5T_class_t kind = H5Tget_class(file_type);
  if (std::holds_alternative<std::vector<std::string>>(c.values)) {
    const uint64_t bytes = H5Tget_size(file_type);
    if (kind != H5T_STRING || H5Tis_variable_str(file_type) != 0 || bytes == 0 || bytes > kMaxTextBytes)
      throw Problem(what + " is not a text of fixed length");
    // In the file's own character set: HDF5 refuses to convert between them, and both are bytes to us.
    Layout layout{text_type(bytes, what), bytes};
    const H5T_cset_t set = H5Tget_cset(file_type);
    if (set >= 0) H5Tset_cset(layout.type, set);
    return layout;
  }
  const bool whole = !std::holds_alternative<std::vector<double>>(c.values);
  if (!(kind == H5T_INTEGER || (!whole && kind == H5T_FLOAT)))
    throw Problem(what + (whole ? " is not an integer" : " is not a number"));
  return layout_of(Column{c.name, c.values});
}

std::vector<uint64_t> extent_of(hid_t dataset, const std::string& what) {
  Handle space(H5Dget_space(dataset), H5Sclose, what);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) fail(what);
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  if (rank > 0 && H5Sget_simple_extent_dims(space, dims.data(), nullptr) < 0) fail(what);
  return {dims.begin(), dims.end()};
}

// Contents that no file of this size can hold are refused before memory is asked for.
void check_plausible(hid_t dataset, uint64_t count, uint64_t bytes_each, const std::string& what) {
  Handle file(H5Iget_file_id(dataset), H5Fclose, what);
  hsize_t file_bytes = 0;
  if (H5Fget_filesize(file, &file_bytes) < 0) fail(what);
  const uint64_t most = std::min<uint64_t>(kMaxTableBytes, file_bytes * kMaxExpansion);
  if (bytes_each != 0 && count > most / bytes_each)
    throw Problem(fmt::format("{} claims {} entries of {} bytes", what, count, bytes_each));
}

// Compressed where it pays; one chunk per ~1 MiB.
Handle creation_list(uint64_t rows, uint64_t row_bytes, const std::string& what) {
  Handle list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  if (H5Pset_obj_track_times(list, false) < 0) fail(what);
  if (rows * row_bytes >= kCompressFrom) {
    const hsize_t chunk = std::clamp<uint64_t>((uint64_t{1} << 20) / std::max<uint64_t>(1, row_bytes), 1, rows);
    if (H5Pset_chunk(list, 1, &chunk) < 0 || H5Pset_shuffle(list) < 0 || H5Pset_deflate(list, 4) < 0) fail(what);
  }
  return list;
}

}  // namespace

void fail(const std::string& what) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
  throw Problem(reason.empty() ? what + " failed" : fmt::format("{} failed: {}", what, reason));
}

QuietErrors::QuietErrors() {
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}
QuietErrors::~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

ImageWriter::ImageWriter(uint64_t user_block) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "file access list");
  if (H5Pset_fapl_core(access, size_t{1} << 20, false) < 0) fail("memory driver");
  Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "file creation list");
  if (H5Pset_userblock(creation, user_block) < 0 || H5Pset_obj_track_times(creation, false) < 0) fail("file creation list");
  file_ = Handle(H5Fcreate("run.h5", H5F_ACC_TRUNC, creation, access), H5Fclose, "creating the image");
}

std::string ImageWriter::image() {
  if (H5Fflush(file_, H5F_SCOPE_GLOBAL) < 0) fail("flushing the image");
  const ssize_t bytes = H5Fget_file_image(file_, nullptr, 0);
  if (bytes < 0) fail("sizing the image");
  std::string out(static_cast<size_t>(bytes), '\0');
  if (H5Fget_file_image(file_, out.data(), out.size()) != bytes) fail("copying the image");
  return out;
}

Handle open_image(std::string_view bytes) {
  // Not H5LTopen_file_image: without a copy it leaks its bookkeeping (HDF5 1.10).
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "file access list");
  if (H5Pset_fapl_core(access, size_t{1} << 20, false) < 0 ||
      H5Pset_file_image(access, const_cast<char*>(bytes.data()), bytes.size()) < 0)  // copies; the signature lacks the const
    fail("opening it");
  return Handle(H5Fopen("run.h5", H5F_ACC_RDONLY, access), H5Fclose, "opening it");
}

Handle make_group(hid_t parent, const std::string& name) {
  Handle list(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, name);
  if (H5Pset_obj_track_times(list, false) < 0) fail(name);
  return Handle(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, list, H5P_DEFAULT), H5Gclose, "group '" + name + "'");
}

Handle open_group(hid_t parent, const std::string& name) {
  return Handle(H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose, "group '" + name + "'");
}

bool exists(hid_t parent, const std::string& name) { return H5Lexists(parent, name.c_str(), H5P_DEFAULT) > 0; }

std::vector<std::string> members(hid_t group) {
  H5G_info_t info;
  if (H5Gget_info(group, &info) < 0) fail("listing a group");
  if (info.nlinks > kMaxMembers) throw Problem(fmt::format("a group claims {} members", info.nlinks));
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
    if (length < 0) fail("listing a group");
    std::string name(static_cast<size_t>(length) + 1, '\0');
    if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT) < 0)
      fail("listing a group");
    name.pop_back();
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void write_text(hid_t group, const std::string& name, const std::string& text) {
  const std::string what = "text '" + name + "'";
  Handle type = text_type(text.size(), what);
  Handle space(H5Screate(H5S_SCALAR), H5Sclose, what);
  Handle list = creation_list(0, 0, what);
  Handle data(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, what);
  const std::string filled = text.empty() ? std::string(1, '\0') : text;
  if (H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, filled.data()) < 0) fail(what);
}

std::string read_text(hid_t group, const std::string& name) {
  const std::string what = "text '" + name + "'";
  Handle data(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, what);
  Handle file_type(H5Dget_type(data), H5Tclose, what);
  if (!extent_of(data, what).empty()) throw Problem(what + " is not a single value");
  Column c{name, std::vector<std::string>{}};
  Layout layout = layout_for_reading(c, file_type, what);
  std::string out(layout.bytes, '\0');
  if (H5Dread(data, layout.type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data()) < 0) fail(what);
  out.resize(strnlen(out.data(), out.size()));
  return out;
}

void write_attributes(hid_t object, const std::vector<Column>& columns) {
  for (const Column& c : columns) {
    const std::string what = "attribute '" + c.name + "'";
    Layout layout = layout_of(c);
    if (layout.bytes > kMaxAttributeBytes)
      throw Problem(fmt::format("{} holds {} bytes, more than the {} it may", what, layout.bytes, kMaxAttributeBytes));
    Handle space(H5Screate(H5S_SCALAR), H5Sclose, what);
    Handle attribute(H5Acreate2(object, c.name.c_str(), layout.type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what);
    std::vector<std::byte> buffer(layout.bytes);
    store_cell(c, 0, buffer.data());
    if (H5Awrite(attribute, layout.type, buffer.data()) < 0) fail(what);
  }
}

void read_attributes(hid_t object, const std::string& where, std::vector<Column>& columns) {
  for (Column& c : columns) {
    const std::string what = fmt::format("attribute '{}' of {}", c.name, where);
    const htri_t there = H5Aexists(object, c.name.c_str());
    if (there < 0) fail(what);
    if (there == 0) continue;
    Handle attribute(H5Aopen(object, c.name.c_str(), H5P_DEFAULT), H5Aclose, what);
    Handle file_type(H5Aget_type(attribute), H5Tclose, what);
    Handle space(H5Aget_space(attribute), H5Sclose, what);
    if (H5Sget_simple_extent_npoints(space) != 1) throw Problem(what + " is not a single value");
    Layout layout = layout_for_reading(c, file_type, what);
    std::vector<std::byte> buffer(layout.bytes);
    if (H5Aread(attribute, layout.type, buffer.data()) < 0) fail(what);
    clear(c);
    load_cell(c, layout.bytes, buffer.data());
  }
}

void write_table(hid_t group, const std::string& name, const std::vector<Column>& columns) {
  const std::string what = "table '" + name + "'";
  const uint64_t rows = columns.empty() ? 0 : rows_of(columns[0]);
  std::vector<Layout> layouts;
  uint64_t row_bytes = 0;
  for (const Column& c : columns) {
    if (rows_of(c) != rows) throw std::logic_error(what + ": columns of different length");
    layouts.push_back(layout_of(c));
    row_bytes += layouts.back().bytes;
  }
  Handle type(H5Tcreate(H5T_COMPOUND, row_bytes), H5Tclose, what);
  std::vector<std::byte> buffer(rows * row_bytes);
  for (uint64_t c = 0, offset = 0; c < columns.size(); offset += layouts[c].bytes, ++c) {
    if (H5Tinsert(type, columns[c].name.c_str(), offset, layouts[c].type) < 0) fail(what);
    for (uint64_t r = 0; r < rows; ++r)
      store_cell(columns[c], r, buffer.data() + r * row_bytes + offset);
  }
  const hsize_t extent = rows;
  Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose, what);
  Handle list = creation_list(rows, row_bytes, what);
  Handle data(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, what);
  if (rows > 0 && H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer.data()) < 0) fail(what);
}

uint64_t read_table(hid_t group, const std::string& name, std::vector<Column>& columns) {
  const std::string what = "table '" + name + "'";
  Handle data(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, what);
  Handle file_type(H5Dget_type(data), H5Tclose, what);
  const std::vector<uint64_t> extent = extent_of(data, what);
  if (extent.size() != 1 || H5Tget_class(file_type) != H5T_COMPOUND) throw Problem(what + " is not a list of rows");
  const uint64_t rows = extent[0];

  struct Wanted {
    Column* column;
    Layout layout;
    uint64_t offset;
  };
  std::vector<Wanted> wanted;
  uint64_t row_bytes = 0;
  for (Column& c : columns) {
    clear(c);
    const int member = H5Tget_member_index(file_type, c.name.c_str());
    if (member < 0) continue;
    const std::string where = fmt::format("column '{}' of {}", c.name, what);
    Handle member_type(H5Tget_member_type(file_type, static_cast<unsigned>(member)), H5Tclose, where);
    Layout layout = layout_for_reading(c, member_type, where);
    const uint64_t bytes = layout.bytes;
    wanted.push_back({&c, std::move(layout), row_bytes});
    row_bytes += bytes;
  }
  if (rows > kMaxRows) throw Problem(fmt::format("{} claims {} rows", what, rows));
  check_plausible(data, rows, row_bytes, what);
  if (rows == 0 || wanted.empty()) return rows;

  Handle type(H5Tcreate(H5T_COMPOUND, row_bytes), H5Tclose, what);
  for (const Wanted& w : wanted)
    if (H5Tinsert(type, w.column->name.c_str(), w.offset, w.layout.type) < 0) fail(what);
  std::vector<std::byte> buffer(rows * row_bytes);
  if (H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer.data()) < 0) fail(what);
  for (const Wanted& w : wanted)
    for (uint64_t r = 0; r < rows; ++r)
      load_cell(*w.column, w.layout.bytes, buffer.data() + r * row_bytes + w.offset);
  return rows;
}

void write_array(hid_t group, const std::string& name, const std::vector<uint64_t>& shape, const std::vector<double>& values) {
  const std::string what = "array '" + name + "'";
  uint64_t count = 1;
  for (uint64_t n : shape)
    count *= n;
  if (count != values.size() || shape.empty())
    throw std::logic_error(fmt::format("{}: {} values do not fill its shape", what, values.size()));
  std::vector<hsize_t> dims(shape.begin(), shape.end());
  Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, what);
  Handle list = creation_list(dims.size() == 1 ? count : 0, 8, what);
  if (dims.size() > 1 && count * 8 >= kCompressFrom) {
    std::vector<hsize_t> chunk = dims;
    for (hsize_t& n : chunk)
      n = std::min<hsize_t>(n, dims.size() == 2 ? 256 : 32);
    if (H5Pset_chunk(list, static_cast<int>(chunk.size()), chunk.data()) < 0 || H5Pset_shuffle(list) < 0 ||
        H5Pset_deflate(list, 4) < 0)
      fail(what);
  }
  Handle data(H5Dcreate2(group, name.c_str(), H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, what);
  if (count > 0 && H5Dwrite(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) fail(what);
}

std::vector<double> read_array(hid_t group, const std::string& name, std::vector<uint64_t>* shape) {
  const std::string what = "array '" + name + "'";
  Handle data(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, what);
  Handle file_type(H5Dget_type(data), H5Tclose, what);
  const H5T_class_t kind = H5Tget_class(file_type);
  if (kind != H5T_FLOAT && kind != H5T_INTEGER) throw Problem(what + " does not hold numbers");
  const std::vector<uint64_t> extent = extent_of(data, what);
  uint64_t count = 1;
  for (uint64_t n : extent) {
    if (n != 0 && count > kMaxTableBytes / 8 / n) throw Problem(what + " claims more values than any run has");
    count *= n;
  }
  if (extent.empty()) throw Problem(what + " is a single value");
  check_plausible(data, count, 8, what);
  std::vector<double> values(count);
  if (count > 0 && H5Dread(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) fail(what);
  if (shape != nullptr) *shape = extent;
  return values;
}

}  // namespace sage::hdf5
