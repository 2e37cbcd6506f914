#include "results/run_file.h"

#include <gtest/gtest.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "results/coverage.h"
#include "results/hdf5_io.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::sample_record;
using test::TempFolder;
namespace fs = std::filesystem;

// NaN equals NaN here: "not measured" must come back as such.
void expect_same(double a, double b) {
  if (std::isnan(a))
    EXPECT_TRUE(std::isnan(b));
  else
    EXPECT_EQ(a, b);
}

void expect_equal(const RunRecord& a, const RunRecord& b) {
  EXPECT_EQ(a.run_key, b.run_key);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.label, b.label);
  EXPECT_EQ(a.started, b.started);
  EXPECT_EQ(a.finished, b.finished);
  EXPECT_EQ(a.numerics, b.numerics);
  EXPECT_EQ(a.full_precision, b.full_precision);
  EXPECT_EQ(a.resumed, b.resumed);
  ASSERT_EQ(a.config.size(), b.config.size());
  for (size_t i = 0; i < a.config.size(); ++i) {
    EXPECT_EQ(a.config[i].path, b.config[i].path);
    EXPECT_EQ(a.config[i].value, b.config[i].value);
    EXPECT_EQ(a.config[i].origin, b.config[i].origin);
  }
  const RunProvenance &p = a.provenance, &q = b.provenance;
  EXPECT_EQ(p.commit, q.commit);
  EXPECT_EQ(p.dirty, q.dirty);
  EXPECT_EQ(p.diff_digest, q.diff_digest);
  EXPECT_EQ(p.argv, q.argv);
  EXPECT_EQ(p.host, q.host);
  EXPECT_EQ(p.cpu, q.cpu);
  EXPECT_EQ(p.gpu, q.gpu);
  EXPECT_EQ(p.threads, q.threads);
  EXPECT_EQ(p.backend, q.backend);
  EXPECT_EQ(p.libraries, q.libraries);
  EXPECT_EQ(p.job, q.job);
  EXPECT_EQ(p.model_path, q.model_path);
  EXPECT_EQ(p.model_name, q.model_name);
  EXPECT_EQ(p.model_digest, q.model_digest);
  EXPECT_EQ(p.model_note, q.model_note);
  EXPECT_EQ(p.text_name, q.text_name);
  EXPECT_EQ(p.text_digest, q.text_digest);
  EXPECT_EQ(p.tokenizer_digest, q.tokenizer_digest);
  ASSERT_EQ(a.metrics.size(), b.metrics.size());
  for (size_t i = 0; i < a.metrics.size(); ++i) {
    EXPECT_EQ(a.metrics[i].task, b.metrics[i].task);
    EXPECT_EQ(a.metrics[i].metric, b.metrics[i].metric);
    expect_same(a.metrics[i].value, b.metrics[i].value);
    expect_same(a.metrics[i].standard_error, b.metrics[i].standard_error);
    EXPECT_EQ(a.metrics[i].n, b.metrics[i].n);
    EXPECT_EQ(a.metrics[i].protocol, b.metrics[i].protocol);
  }
  const StorageSummary &s = a.storage, &t = b.storage;
  for (uint64_t StorageSummary::*field :
       {&StorageSummary::linear_weights, &StorageSummary::quantized_weights, &StorageSummary::linear_matrices,
        &StorageSummary::quantized_matrices, &StorageSummary::left_out_bytes})
    EXPECT_EQ(s.*field, t.*field);
  expect_same(s.stored_bits, t.stored_bits);
  expect_same(s.paper_weight_bits, t.paper_weight_bits);
  expect_same(s.paper_scaling_bits, t.paper_scaling_bits);
  expect_same(s.paper_bits, t.paper_bits);
  expect_same(s.whole_model_bits, t.whole_model_bits);
  EXPECT_EQ(s.file_bytes, t.file_bytes);
  EXPECT_EQ(s.metadata_bytes, t.metadata_bytes);
  EXPECT_EQ(s.unquantized_bytes, t.unquantized_bytes);
  ASSERT_EQ(a.storage_by_role.size(), b.storage_by_role.size());
  for (size_t i = 0; i < a.storage_by_role.size(); ++i) {
    EXPECT_EQ(a.storage_by_role[i].role, b.storage_by_role[i].role);
    EXPECT_EQ(a.storage_by_role[i].bytes, b.storage_by_role[i].bytes);
  }
  ASSERT_EQ(a.matrices.size(), b.matrices.size());
  for (size_t i = 0; i < a.matrices.size(); ++i) {
    const MatrixRow &m = a.matrices[i], &n = b.matrices[i];
    EXPECT_EQ(m.layer, n.layer);
    EXPECT_EQ(m.name, n.name);
    EXPECT_EQ(m.rows, n.rows);
    EXPECT_EQ(m.cols, n.cols);
    EXPECT_EQ(m.groups, n.groups);
    for (double MatrixRow::*field :
         {&MatrixRow::salient_ratio, &MatrixRow::paper_bits, &MatrixRow::stored_bits, &MatrixRow::d, &MatrixRow::gram_loss,
          &MatrixRow::percdamp, &MatrixRow::damping_retries, &MatrixRow::dead_columns, &MatrixRow::threshold_cut,
          &MatrixRow::excess_stored, &MatrixRow::excess_paper, &MatrixRow::seconds})
      expect_same(m.*field, n.*field);
    EXPECT_EQ(m.choice, n.choice);
  }
  ASSERT_EQ(a.timing.size(), b.timing.size());
  for (size_t i = 0; i < a.timing.size(); ++i) {
    EXPECT_EQ(a.timing[i].stage, b.timing[i].stage);
    EXPECT_EQ(a.timing[i].seconds, b.timing[i].seconds);
    EXPECT_EQ(a.timing[i].peak_bytes, b.timing[i].peak_bytes);
    EXPECT_EQ(a.timing[i].device_peak_bytes, b.timing[i].device_peak_bytes);
  }
  EXPECT_EQ(a.failure.exit_code, b.failure.exit_code);
  EXPECT_EQ(a.failure.message, b.failure.message);
}

void expect_equal_series(const RunRecord& a, const RunRecord& b) {
  ASSERT_EQ(a.eval.size(), b.eval.size());
  for (size_t i = 0; i < a.eval.size(); ++i) {
    EXPECT_EQ(a.eval[i].task, b.eval[i].task);
    EXPECT_EQ(a.eval[i].nll, b.eval[i].nll);
    EXPECT_EQ(a.eval[i].kl, b.eval[i].kl);
    EXPECT_EQ(a.eval[i].top1, b.eval[i].top1);
  }
  ASSERT_EQ(a.trace.size(), b.trace.size());
  for (size_t i = 0; i < a.trace.size(); ++i) {
    const auto same = [&](const TraceArray& t) { return t.matrix == a.trace[i].matrix && t.name == a.trace[i].name; };
    const auto found = std::find_if(b.trace.begin(), b.trace.end(), same);
    ASSERT_NE(found, b.trace.end());
    EXPECT_EQ(found->shape, a.trace[i].shape);
    EXPECT_EQ(found->values, a.trace[i].values);
  }
}

std::string error_of(const std::string& path, RunParts parts = RunParts::kAll) {
  try {
    read_run_file(path, parts);
  } catch (const ResourceError& e) {
    return e.what();
  }
  return "";
}

// A sealed file of our own making with something wrong inside.
void write_hostile(const std::string& path, const std::function<void(hid_t)>& fill) {
  hdf5::ImageWriter file(kUserBlockBytes);
  hdf5::write_attributes(file.root(), {{"schema_version", std::vector<int64_t>{kRunSchemaVersion}},
                                       {"status", std::vector<std::string>{"complete"}}});
  fill(file.root());
  write_file_atomically(path, seal_image(file.image()));
}

TEST(RunFile, RoundTrip) {
  const TempFolder dir;
  const RunRecord r = sample_record();
  EXPECT_EQ(write_run_file(dir / "a.h5", r), dir / "a.h5");
  const RunRecord back = read_run_file(dir / "a.h5");
  expect_equal(r, back);
  expect_equal_series(r, back);
  EXPECT_EQ(back.config_source, r.config_source);
  EXPECT_EQ(back.config_resolved, r.config_resolved);
}

TEST(RunFile, SummaryLeavesOutWindowsAndTexts) {
  const TempFolder dir;
  const RunRecord r = sample_record();
  write_run_file(dir / "a.h5", r);
  const RunRecord back = read_run_file(dir / "a.h5", RunParts::kSummary);
  expect_equal(r, back);
  EXPECT_TRUE(back.eval.empty());
  EXPECT_TRUE(back.trace.empty());
  EXPECT_TRUE(back.timeline.empty());
  EXPECT_TRUE(back.config_source.empty());
}

TEST(RunFile, TimelineRoundTrips) {
  const TempFolder dir;
  const RunRecord r = sample_record();
  write_run_file(dir / "a.h5", r);
  const RunRecord back = read_run_file(dir / "a.h5");
  ASSERT_EQ(back.timeline.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back.timeline[i].stream, r.timeline[i].stream);
    EXPECT_EQ(back.timeline[i].what, r.timeline[i].what);
    EXPECT_EQ(back.timeline[i].start_s, r.timeline[i].start_s);
    EXPECT_EQ(back.timeline[i].end_s, r.timeline[i].end_s);
  }
}

// Files of before the column, and of after one this program does not know.
TEST(RunFile, OtherColumnsOfTheSameSchema) {
  const TempFolder dir;
  const std::string path = dir / "old.h5";
  write_hostile(path, [](hid_t root) {
    hdf5::write_table(root, "timing",
                      {{"stage", std::vector<std::string>{"quantize"}},
                       {"seconds", std::vector<double>{2.5}},
                       {"peak_bytes", std::vector<uint64_t>{7}},
                       {"later", std::vector<double>{1}}});
  });
  const RunRecord r = read_run_file(path);
  ASSERT_EQ(r.timing.size(), 1u);
  EXPECT_EQ(r.timing[0].stage, "quantize");
  EXPECT_EQ(r.timing[0].seconds, 2.5);
  EXPECT_EQ(r.timing[0].peak_bytes, 7u);
  EXPECT_EQ(r.timing[0].device_peak_bytes, 0u);
  EXPECT_TRUE(r.timeline.empty());
}

TEST(RunFile, EmptyRecordRoundTrips) {
  const TempFolder dir;
  write_run_file(dir / "a.h5", RunRecord{});
  const RunRecord back = read_run_file(dir / "a.h5");
  expect_equal(RunRecord{}, back);
  expect_equal_series(RunRecord{}, back);
}

TEST(RunFile, FailedRunsHaveTheirOwnName) {
  const TempFolder dir;
  RunRecord r = sample_record();
  r.status = "failed";
  r.failure = {1, "layer 7: Gram not positive definite"};
  EXPECT_EQ(write_run_file(dir / "a.h5", r), dir / "a.failed.h5");
  EXPECT_FALSE(fs::exists(dir / "a.h5"));
  expect_equal(r, read_run_file(dir / "a.failed.h5"));
}

TEST(RunFile, LargeTablesAndLongTexts) {
  const TempFolder dir;
  RunRecord r = sample_record();
  r.matrices.resize(3000, r.matrices[1]);
  for (size_t i = 0; i < r.matrices.size(); ++i)
    r.matrices[i].d = 1.0 / static_cast<double>(i + 1);
  r.config[2].value = std::string(20000, 'v');
  r.config_source = std::string(300000, 's');
  r.eval[0].nll.assign(50000, 0.1);
  r.trace[1] = {"m", "plane", {300, 700}, std::vector<double>(210000, 0.5)};
  write_run_file(dir / "a.h5", r);
  const RunRecord back = read_run_file(dir / "a.h5");
  expect_equal(r, back);
  expect_equal_series(r, back);
  EXPECT_EQ(back.config_source, r.config_source);
}

TEST(RunFile, EqualRecordsGiveEqualBytes) {
  const TempFolder dir;
  write_run_file(dir / "a.h5", sample_record());
  sleep(1);  // object times, if any were kept, would differ now
  write_run_file(dir / "b.h5", sample_record());
  EXPECT_EQ(read_file(dir / "a.h5"), read_file(dir / "b.h5"));
}

TEST(RunFile, OldestFormatSoThatEveryReaderOpensIt) {
  const TempFolder dir;
  write_run_file(dir / "a.h5", sample_record());
  const std::string bytes = read_file(dir / "a.h5");
  EXPECT_EQ(bytes.substr(kUserBlockBytes, 8), std::string("\x89HDF\r\n\x1a\n"));
  EXPECT_EQ(bytes[kUserBlockBytes + 8], 0);  // superblock version
}

TEST(RunFile, EveryTruncationAndFlipIsNoticed) {
  const TempFolder dir;
  write_run_file(dir / "a.h5", sample_record());
  const std::string good = read_file(dir / "a.h5");
  for (size_t cut = 0; cut < good.size(); cut += 997) {
    write_file_atomically(dir / "b.h5", good.substr(0, cut));
    EXPECT_NE(error_of(dir / "b.h5"), "") << cut;
  }
  for (size_t at = 0; at < good.size(); at += 613) {
    if (at >= 110 && at < kUserBlockBytes) continue;  // padding of the user block carries nothing
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file_atomically(dir / "b.h5", bad);
    EXPECT_NE(error_of(dir / "b.h5"), "") << at;
  }
}

TEST(RunFile, OtherFilesAreRefusedByName) {
  const TempFolder dir;
  EXPECT_NE(error_of(dir / "absent.h5").find("absent.h5"), std::string::npos);
  write_file_atomically(dir / "text.h5", "hello");
  EXPECT_NE(error_of(dir / "text.h5").find("does not begin like a run file"), std::string::npos);
  write_file_atomically(dir / "noise.h5", seal_image(std::string(5000, 'x')));
  EXPECT_NE(error_of(dir / "noise.h5").find("cannot be read as a run file"), std::string::npos);
  EXPECT_NE(error_of(dir.str()), "");
}

TEST(RunFile, HostileContentsGiveErrors) {
  const TempFolder dir;
  const std::string path = dir / "h.h5";
  const auto expect = [&](const std::string& part, const std::function<void(hid_t)>& fill) {
    write_hostile(path, fill);
    const std::string e = error_of(path);
    EXPECT_NE(e.find(part), std::string::npos) << "found: " << e;
  };
  write_hostile(path, [](hid_t) {});
  EXPECT_EQ(error_of(path), "");  // absent parts are fine: files of older schemas
  expect("table 'metrics' is not a list of rows", [](hid_t f) { hdf5::write_array(f, "metrics", {3}, {1, 2, 3}); });
  expect("metrics", [](hid_t f) { hdf5::make_group(f, "metrics"); });
  expect("column 'value' of table 'metrics' is not a number", [](hid_t f) {
    hdf5::write_table(f, "metrics", {{"value", std::vector<std::string>{"12"}}});
  });
  expect("column 'task' of table 'metrics' is not a text", [](hid_t f) {
    hdf5::write_table(f, "metrics", {{"task", std::vector<double>{1}}});
  });
  expect("column 'rows' of table 'matrices' is not an integer", [](hid_t f) {
    hdf5::write_table(f, "matrices", {{"rows", std::vector<double>{1.5}}});
  });
  expect("claims", [](hid_t f) {  // rows that take no room in the file
    const hsize_t rows = 9'000'000, chunk = 1000;
    hdf5::Handle space(H5Screate_simple(1, &rows, nullptr), H5Sclose, "space"),
        list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "list");
    H5Pset_chunk(list, 1, &chunk);
    hdf5::Handle type(H5Tcreate(H5T_COMPOUND, 100000), H5Tclose, "type"), text(H5Tcopy(H5T_C_S1), H5Tclose, "text");
    H5Tset_size(text, 100000);
    H5Tinsert(type, "task", 0, text);
    hdf5::Handle data(H5Dcreate2(f, "metrics", type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, "data");
  });
  expect("claims", [](hid_t f) {
    hdf5::Handle eval = hdf5::make_group(f, "eval"), task = hdf5::make_group(eval, "t");
    const hsize_t n = hsize_t{1} << 60, chunk = 1000;
    hdf5::Handle space(H5Screate_simple(1, &n, nullptr), H5Sclose, "space"),
        list(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "list");
    H5Pset_chunk(list, 1, &chunk);
    hdf5::Handle data(H5Dcreate2(task, "nll", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, "data");
  });
  expect("text 'source' is not a single value", [](hid_t f) {
    hdf5::Handle config = hdf5::make_group(f, "config");
    hdf5::write_array(config, "source", {1}, {0.0});
  });
  expect("not a text of fixed length", [](hid_t f) {  // h5py writes str this way
    hdf5::Handle config = hdf5::make_group(f, "config"), text(H5Tcopy(H5T_C_S1), H5Tclose, "text"),
                 space(H5Screate(H5S_SCALAR), H5Sclose, "space");
    H5Tset_size(text, H5T_VARIABLE);
    hdf5::Handle data(H5Dcreate2(config, "source", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, "data");
  });
  expect("nll", [](hid_t f) {  // a link that leads nowhere
    hdf5::Handle eval = hdf5::make_group(f, "eval"), task = hdf5::make_group(eval, "t");
    H5Lcreate_external("/etc/passwd", "/", task, "nll", H5P_DEFAULT, H5P_DEFAULT);
  });
}

// Written by the program when bits were over the quantized matrices alone: `rtn` with one of seven layers excluded.
TEST(RunFile, RecordsOfTheFirstSchemaAreRead) {
  const RunRecord r = read_run_file(std::string(SAGE_TEST_DATA) + "/runs/schema_1_excluded.h5");
  EXPECT_EQ(r.matrices.size(), 6u);
  EXPECT_GT(r.storage.stored_bits, 4);
  EXPECT_EQ(r.storage.linear_matrices, 0u);
  EXPECT_EQ(r.storage.quantized_weights, 0u);
  EXPECT_FALSE(r.resumed);
  for (double MatrixRow::*field :
       {&MatrixRow::percdamp, &MatrixRow::damping_retries, &MatrixRow::dead_columns, &MatrixRow::threshold_cut})
    EXPECT_TRUE(std::isnan(r.matrices[0].*field));
  EXPECT_TRUE(bits_leave_layers_out(r));
  EXPECT_EQ(matrices_quantized(r), "6 of ?");
}

TEST(RunFile, NewerSchemaIsRefused) {
  const TempFolder dir;
  hdf5::ImageWriter file(kUserBlockBytes);
  hdf5::write_attributes(file.root(), {{"schema_version", std::vector<int64_t>{kRunSchemaVersion + 1}}});
  write_file_atomically(dir / "n.h5", seal_image(file.image()));
  EXPECT_NE(error_of(dir / "n.h5").find("schema version 3"), std::string::npos);
}

TEST(RunFile, Hdf5StaysSilent) {
  const TempFolder dir;
  write_file_atomically(dir / "noise.h5", seal_image(std::string(5000, 'x')));
  testing::internal::CaptureStderr();
  error_of(dir / "noise.h5");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  H5Fopen("/nonexistent", H5F_ACC_RDONLY, H5P_DEFAULT);  // and others' use of the library is left as it was
  EXPECT_NE(testing::internal::GetCapturedStderr(), "");
}

// A writer killed at any moment leaves the file that was there before, or a whole new one.
TEST(RunFile, KilledWriterLeavesNoHalfFile) {
  const TempFolder dir;
  RunRecord r = sample_record();
  r.trace = {{"m", "noise", {400000}, std::vector<double>(400000)}};
  uint64_t x = 1;
  for (double& v : r.trace[0].values)
    v = static_cast<double>(x = x * 6364136223846793005u + 1442695040888963407u);
  int whole = 0;
  for (int round = 0; round < 12; ++round) {
    const std::string path = dir / ("k" + std::to_string(round) + ".h5");
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (;;) {
        write_run_file(path, r);
        usleep(1000);
        unlink(path.c_str());
      }
    }
    usleep(static_cast<useconds_t>(20000 + 17000 * round));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    if (!fs::exists(path)) continue;
    ++whole;
    EXPECT_EQ(error_of(path), "");
  }
  for (const auto& entry : fs::directory_iterator(dir.str())) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(name.ends_with(".h5") || name.find(".part.") != std::string::npos) << name;
  }
  RecordProperty("whole_files", whole);
}

int write_in_child(const std::string& path, const std::function<void()>& limit) {
  const pid_t child = fork();
  if (child == 0) {
    limit();
    RunRecord r = sample_record();
    r.trace = {{"m", "noise", {1000000}, std::vector<double>(1000000)}};
    uint64_t x = 1;
    for (double& v : r.trace[0].values)
      v = static_cast<double>(x = x * 6364136223846793005u + 1442695040888963407u);
    try {
      write_run_file(path, r);
    } catch (const ResourceError& e) {
      _exit(std::string(e.what()).find(path) != std::string::npos ? 3 : 99);
    } catch (...) {
      _exit(98);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(RunFile, FileSizeLimitIsAnErrorAndLeavesNothing) {
  const TempFolder dir;
  const int code = write_in_child(dir / "full.h5", [] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
  });
  EXPECT_EQ(code, 3);
  EXPECT_TRUE(fs::is_empty(dir.str()));
  EXPECT_EQ(write_in_child(dir / "room.h5", [] {}), 0);
  EXPECT_EQ(error_of(dir / "room.h5"), "");
}

TEST(RunFile, FullDiskIsAnErrorAndLeavesNothing) {
  const TempFolder dir;
  if (mount("none", dir.str().c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "no right to mount a small tmpfs; the size-limit test covers the same path";
  EXPECT_EQ(write_in_child(dir / "full.h5", [] {}), 3);
  EXPECT_TRUE(fs::is_empty(dir.str()));
  umount(dir.str().c_str());
}

// Not a test of its own: check_run_file.py and check_pareto.py ask for files to read.
TEST(RunFile, SamplesForOtherReaders) {
  const char* folder = std::getenv("SAGE_SAMPLE_FOLDER");
  if (folder == nullptr) GTEST_SKIP() << "SAGE_SAMPLE_FOLDER is not set: nobody asked for samples";
  write_run_file(std::string(folder) + "/sample.h5", sample_record());
  std::string manifest = "{\"name\": \"sample\", \"points\": [";
  for (const RunRecord& r : test::sample_sweep()) {
    const std::string file = write_run_file(std::string(folder) + "/" + r.run_key.substr(0, 8) + ".h5", r);
    manifest += (manifest.back() == '[' ? "" : ",") + std::string("{\"label\": \"") + r.label + "\", \"key\": \"" + r.run_key +
                "\", \"run_file\": \"" + r.run_key.substr(0, 8) + ".h5\"}";
  }
  write_file_atomically(std::string(folder) + "/sweep.json", manifest + "]}");
}

}  // namespace
}  // namespace sage
