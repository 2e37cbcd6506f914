#include "results/run_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "results/hdf5_io.h"

namespace sage {
namespace {

using hdf5::Column;
using hdf5::Handle;
using hdf5::Problem;

constexpr std::string_view kMagic = "sage-ptq run file\nsha256 ";
constexpr std::string_view kMagicTail = " of all bytes after the first 512\n";
constexpr size_t kDigestDigits = 64;
constexpr uint64_t kMaxFileBytes = uint64_t{4} << 30;

// Some distributions build HDF5 without locks; one call at a time costs nothing here.
std::mutex& hdf5_mutex() {
  static std::mutex m;
  return m;
}

// A member of a row structure and the column or attribute that holds it.
template <class Row>
struct Field {
  const char* name;
  std::variant<std::string Row::*, double Row::*, int64_t Row::*, uint64_t Row::*, bool Row::*> member;
};
template <class Row>
using Fields = std::vector<Field<Row>>;

Fields<ConfigEntry> fields(const ConfigEntry*) {
  return {{"path", &ConfigEntry::path}, {"value", &ConfigEntry::value}, {"origin", &ConfigEntry::origin}};
}
Fields<RunProvenance> fields(const RunProvenance*) {
  using P = RunProvenance;
  return {{"commit", &P::commit},
          {"dirty", &P::dirty},
          {"diff_digest", &P::diff_digest},
          {"host", &P::host},
          {"cpu", &P::cpu},
          {"gpu", &P::gpu},
          {"threads", &P::threads},
          {"backend", &P::backend},
          {"job", &P::job},
          {"model_path", &P::model_path},
          {"model_name", &P::model_name},
          {"model_digest", &P::model_digest},
          {"model_note", &P::model_note},
          {"text_name", &P::text_name},
          {"text_digest", &P::text_digest},
          {"text_note", &P::text_note},
          {"tokenizer_digest", &P::tokenizer_digest}};
}
Fields<MetricRow> fields(const MetricRow*) {
  using M = MetricRow;
  return {{"task", &M::task}, {"metric", &M::metric},    {"value", &M::value}, {"stderr", &M::standard_error},
          {"n", &M::n},       {"protocol", &M::protocol}};
}
Fields<RoleBytes> fields(const RoleBytes*) { return {{"role", &RoleBytes::role}, {"bytes", &RoleBytes::bytes}}; }
Fields<StorageSummary> fields(const StorageSummary*) {
  using S = StorageSummary;
  return {{"linear_weights", &S::linear_weights},
          {"stored_bits", &S::stored_bits},
          {"paper_weight_bits", &S::paper_weight_bits},
          {"paper_scaling_bits", &S::paper_scaling_bits},
          {"paper_bits", &S::paper_bits},
          {"whole_model_bits", &S::whole_model_bits},
          {"file_bytes", &S::file_bytes},
          {"metadata_bytes", &S::metadata_bytes},
          {"unquantized_bytes", &S::unquantized_bytes}};
}
Fields<MatrixRow> fields(const MatrixRow*) {
  using M = MatrixRow;
  return {{"layer", &M::layer},
          {"name", &M::name},
          {"rows", &M::rows},
          {"cols", &M::cols},
          {"groups", &M::groups},
          {"salient_ratio", &M::salient_ratio},
          {"paper_bits", &M::paper_bits},
          {"stored_bits", &M::stored_bits},
          {"D", &M::d},
          {"gram_loss", &M::gram_loss},
          {"excess_stored", &M::excess_stored},
          {"excess_paper", &M::excess_paper},
          {"seconds", &M::seconds},
          {"choice", &M::choice}};
}
Fields<StageRow> fields(const StageRow*) {
  using S = StageRow;
  return {{"stage", &S::stage},
          {"seconds", &S::seconds},
          {"peak_bytes", &S::peak_bytes},
          {"device_peak_bytes", &S::device_peak_bytes}};
}
Fields<TimelineRow> fields(const TimelineRow*) {
  using T = TimelineRow;
  return {{"stream", &T::stream}, {"what", &T::what}, {"start_s", &T::start_s}, {"end_s", &T::end_s}};
}
Fields<RunFailure> fields(const RunFailure*) {
  return {{"exit_code", &RunFailure::exit_code}, {"message", &RunFailure::message}};
}

// Root attributes; schema_version and complete are derived and handled beside them.
Fields<RunRecord> fields(const RunRecord*) {
  using R = RunRecord;
  return {{"run_key", &R::run_key},
          {"status", &R::status},
          {"label", &R::label},
          {"started", &R::started},
          {"finished", &R::finished},
          {"numerics", &R::numerics},
          {"full_precision", &R::full_precision}};
}

struct Text {
  std::string value;
};
Fields<Text> fields(const Text*) { return {{"argument", &Text::value}}; }
struct Pair {
  std::string name, version;
};
Fields<Pair> fields(const Pair*) { return {{"name", &Pair::name}, {"version", &Pair::version}}; }

template <class Row>
std::vector<Column> columns_of(const std::vector<Row>& rows) {
  std::vector<Column> out;
  for (const Field<Row>& f : fields(static_cast<const Row*>(nullptr))) {
    std::visit(
        [&](auto member) {
          std::vector<std::decay_t<decltype(std::declval<Row>().*member)>> values;
          for (const Row& row : rows)
            values.push_back(row.*member);
          out.push_back({f.name, std::move(values)});
        },
        f.member);
  }
  return out;
}

// The inverse; columns that the file lacked are empty and leave the row's defaults.
template <class Row>
void rows_from(const std::vector<Column>& columns, std::vector<Row>& rows) {
  const Fields<Row> all = fields(static_cast<const Row*>(nullptr));
  for (size_t c = 0; c < all.size(); ++c) {
    std::visit(
        [&](auto member) {
          const auto& values = std::get<std::vector<std::decay_t<decltype(std::declval<Row>().*member)>>>(columns[c].values);
          for (size_t r = 0; r < values.size() && r < rows.size(); ++r)
            rows[r].*member = values[r];
        },
        all[c].member);
  }
}

template <class Row>
void write_rows(hid_t group, const std::string& name, const std::vector<Row>& rows) {
  hdf5::write_table(group, name, columns_of(rows));
}
template <class Row>
void read_rows(hid_t group, const std::string& name, std::vector<Row>& rows) {
  if (!hdf5::exists(group, name)) return;
  std::vector<Column> columns = columns_of(std::vector<Row>{});
  rows.assign(hdf5::read_table(group, name, columns), Row{});
  rows_from(columns, rows);
}
template <class Row>
void write_fields(hid_t object, const Row& row) {
  hdf5::write_attributes(object, columns_of(std::vector<Row>{row}));
}
template <class Row>
void read_fields(hid_t object, const std::string& where, Row& row) {
  std::vector<Column> columns = columns_of(std::vector<Row>{});
  hdf5::read_attributes(object, where, columns);
  std::vector<Row> one{std::move(row)};
  rows_from(columns, one);
  row = std::move(one[0]);
}

std::string link_name(const std::string& name) {
  std::string out;
  for (char c : name)
    out += c == '/' ? "%2F" : c == '%' ? "%25" : std::string(1, c);
  if (out.empty() || out == "." || out == "..") throw Problem("'" + name + "' cannot name an object");
  return out;
}
std::string from_link_name(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool slash = name.compare(i, 3, "%2F") == 0, percent = name.compare(i, 3, "%25") == 0;
    out += slash ? '/' : name[i];
    if (slash || percent) i += 2;
  }
  return out;
}

std::string image_of(const RunRecord& r) {
  hdf5::ImageWriter file(kUserBlockBytes);
  write_fields(file.root(), r);
  hdf5::write_attributes(file.root(), {{"schema_version", std::vector<int64_t>{kRunSchemaVersion}},
                                       {"complete", std::vector<bool>{r.complete()}}});
  {
    Handle config = hdf5::make_group(file.root(), "config");
    hdf5::write_text(config, "source", r.config_source);
    hdf5::write_text(config, "resolved", r.config_resolved);
    write_rows(config, "flat", r.config);
  }
  {
    Handle provenance = hdf5::make_group(file.root(), "provenance");
    write_fields(provenance, r.provenance);
    std::vector<Text> argv;
    for (const std::string& a : r.provenance.argv)
      argv.push_back({a});
    write_rows(provenance, "argv", argv);
    std::vector<Pair> libraries;
    for (const auto& [name, version] : r.provenance.libraries)
      libraries.push_back({name, version});
    write_rows(provenance, "libraries", libraries);
  }
  write_rows(file.root(), "metrics", r.metrics);
  {
    Handle storage = hdf5::make_group(file.root(), "storage");
    write_fields(storage, r.storage);
    write_rows(storage, "by_role", r.storage_by_role);
  }
  write_rows(file.root(), "matrices", r.matrices);
  write_rows(file.root(), "timing", r.timing);
  if (!r.timeline.empty()) write_rows(file.root(), "timeline", r.timeline);
  if (!r.eval.empty()) {
    Handle eval = hdf5::make_group(file.root(), "eval");
    for (const EvalSeries& e : r.eval) {
      Handle task = hdf5::make_group(eval, link_name(e.task));
      for (const auto& [name, values] : {std::pair{"nll", &e.nll}, {"kl", &e.kl}, {"top1", &e.top1}})
        if (!values->empty()) hdf5::write_array(task, name, {values->size()}, *values);
    }
  }
  if (!r.trace.empty()) {
    Handle trace = hdf5::make_group(file.root(), "trace");
    for (const TraceArray& t : r.trace) {
      const std::string name = link_name(t.matrix);
      Handle matrix = hdf5::exists(trace, name) ? hdf5::open_group(trace, name) : hdf5::make_group(trace, name);
      hdf5::write_array(matrix, link_name(t.name), t.shape, t.values);
    }
  }
  if (!r.complete()) {
    Handle failure = hdf5::make_group(file.root(), "failure");
    write_fields(failure, r.failure);
  }
  return file.image();
}

void read_config(hid_t file, RunRecord& r, RunParts parts) {
  if (!hdf5::exists(file, "config")) return;
  Handle config = hdf5::open_group(file, "config");
  read_rows(config, "flat", r.config);
  if (parts == RunParts::kSummary) return;
  if (hdf5::exists(config, "source")) r.config_source = hdf5::read_text(config, "source");
  if (hdf5::exists(config, "resolved")) r.config_resolved = hdf5::read_text(config, "resolved");
}

void read_provenance(hid_t file, RunRecord& r) {
  if (!hdf5::exists(file, "provenance")) return;
  Handle provenance = hdf5::open_group(file, "provenance");
  read_fields(provenance, "provenance", r.provenance);
  std::vector<Text> argv;
  read_rows(provenance, "argv", argv);
  for (Text& a : argv)
    r.provenance.argv.push_back(std::move(a.value));
  std::vector<Pair> libraries;
  read_rows(provenance, "libraries", libraries);
  for (Pair& l : libraries)
    r.provenance.libraries.emplace_back(std::move(l.name), std::move(l.version));
}

void read_series(hid_t file, RunRecord& r) {
  if (hdf5::exists(file, "eval")) {
    Handle eval = hdf5::open_group(file, "eval");
    for (const std::string& name : hdf5::members(eval)) {
      Handle task = hdf5::open_group(eval, name);
      EvalSeries e;
      e.task = from_link_name(name);
      for (const auto& [array, values] : {std::pair{"nll", &e.nll}, {"kl", &e.kl}, {"top1", &e.top1}})
        if (hdf5::exists(task, array)) *values = hdf5::read_array(task, array);
      r.eval.push_back(std::move(e));
    }
  }
  if (hdf5::exists(file, "trace")) {
    Handle trace = hdf5::open_group(file, "trace");
    for (const std::string& matrix : hdf5::members(trace)) {
      Handle group = hdf5::open_group(trace, matrix);
      for (const std::string& name : hdf5::members(group)) {
        TraceArray t;
        t.matrix = from_link_name(matrix);
        t.name = from_link_name(name);
        t.values = hdf5::read_array(group, name, &t.shape);
        r.trace.push_back(std::move(t));
      }
    }
  }
}

RunRecord record_of(std::string_view bytes, RunParts parts) {
  Handle file = hdf5::open_image(bytes);
  RunRecord r;
  std::vector<Column> version{{"schema_version", std::vector<int64_t>{}}};
  hdf5::read_attributes(file, "the file", version);
  const auto& found = std::get<std::vector<int64_t>>(version[0].values);
  if (found.empty()) throw Problem("attribute 'schema_version' is missing");
  if (found[0] < 1 || found[0] > kRunSchemaVersion)
    throw Problem(fmt::format("schema version {} is not one this program knows (1 .. {})", found[0], kRunSchemaVersion));
  read_fields(file, "the file", r);
  if (r.status != "complete" && r.status != "failed") throw Problem("status '" + r.status + "' is neither complete nor failed");
  read_config(file, r, parts);
  read_provenance(file, r);
  read_rows(file, "metrics", r.metrics);
  if (hdf5::exists(file, "storage")) {
    Handle storage = hdf5::open_group(file, "storage");
    read_fields(storage, "storage", r.storage);
    read_rows(storage, "by_role", r.storage_by_role);
  }
  read_rows(file, "matrices", r.matrices);
  read_rows(file, "timing", r.timing);
  if (hdf5::exists(file, "failure")) {
    Handle failure = hdf5::open_group(file, "failure");
    read_fields(failure, "failure", r.failure);
  }
  if (parts == RunParts::kAll) {
    read_rows(file, "timeline", r.timeline);
    read_series(file, r);
  }
  return r;
}

void check_seal(const std::string& path, std::string_view bytes) {
  const size_t digest_at = kMagic.size();
  if (bytes.size() <= kUserBlockBytes || bytes.substr(0, digest_at) != kMagic)
    throw ResourceError("{}: does not begin like a run file; expected one written by sageptq; check the path", path);
  if (bytes.substr(digest_at, kDigestDigits) != sha256_hex(bytes.substr(kUserBlockBytes)))
    throw ResourceError(
        "{}: is damaged or was changed (its digest does not match); expected the file as it was written; copy it again or "
        "delete it and rerun",
        path);
}

}  // namespace

std::string failed_name(const std::string& path) {
  const std::string stem = path.ends_with(".h5") ? path.substr(0, path.size() - 3) : path;
  return stem.ends_with(".failed") ? path : stem + ".failed.h5";
}

std::string seal_image(std::string_view image) {
  std::string out = fmt::format("{}{}{}", kMagic, sha256_hex(image), kMagicTail);
  out.resize(kUserBlockBytes, '\0');
  return out.append(image);
}

std::string write_run_file(const std::string& path, const RunRecord& record) {
  const std::string name = record.complete() ? path : failed_name(path);
  std::string bytes;
  try {
    const std::scoped_lock lock(hdf5_mutex());
    const hdf5::QuietErrors quiet;
    bytes = seal_image(image_of(record));
  } catch (const Problem& p) {
    throw ResourceError("{}: the run file cannot be made: {}; expected HDF5 to take it; report the message", name, p.what());
  }
  AtomicFile file(name);
  file.write(bytes);
  file.commit();
  return name;
}

RunRecord read_run_file(const std::string& path, RunParts parts) {
  const std::string bytes = read_file(path, kMaxFileBytes);
  check_seal(path, bytes);
  try {
    const std::scoped_lock lock(hdf5_mutex());
    const hdf5::QuietErrors quiet;
    return record_of(bytes, parts);
  } catch (const Problem& p) {
    throw ResourceError(
        "{}: cannot be read as a run file: {}; expected one written by this version of sageptq; rerun it or use the version "
        "that wrote it",
        path, p.what());
  }
}

}  // namespace sage
