// A RunRecord as one immutable HDF5 file.
//
//   /                    attributes schema_version, run_key, status, complete, label, started, finished, numerics, full_precision,
//                        resumed
//   /config              source, resolved (texts); flat (path, value, origin)
//   /provenance          attributes; argv (argument), libraries (name, version)
//   /metrics             task, metric, value, stderr, n, protocol
//   /storage             attributes linear_weights, stored_bits, paper_bits, ...; by_role (role, bytes)
//   /matrices            a row each
//   /timing              stage, seconds, peak_bytes, device_peak_bytes
//   /eval/<task>         nll, kl, top1: one float64 per window
//   /trace/<matrix>      arrays
//   /timeline            stream, what, start_s, end_s (traced runs on a device)
//   /failure             attributes exit_code, message (failed runs only)
//
// 8 (the bytes of by_role + left_out_bytes) / linear_weights = stored_bits.
//
// Tables are 1-D compound datasets with texts of fixed length, so pandas.DataFrame(f["matrices"][:]) is the table. A '/' in a
// task or matrix name is written "%2F". A column that an older file lacks reads as its default, one that a reader does not know
// is passed over; only other changes of meaning raise the schema's version.
//
// The first 512 bytes are an HDF5 user block, which readers skip: two lines of text with the SHA-256 of the rest. It is
// checked before HDF5 sees a byte, so damage is reported as damage and never reaches the library's parser.
#pragma once

#include <string>
#include <string_view>

#include "results/run_record.h"

namespace sage {

// The name a failed run's record has beside a complete one's: "x.h5" -> "x.failed.h5".
std::string failed_name(const std::string& path);

// Writes the record to `path`, or to failed_name(path) if it failed, and returns the name written. The file appears whole or
// not at all (temporary, fsync, rename). ResourceError if the disk does not take it. Equal records give equal bytes.
std::string write_run_file(const std::string& path, const RunRecord& record);

// kSummary leaves out what only single runs are looked at for: windows, traces, configuration texts.
enum class RunParts { kAll, kSummary };
// ResourceError for a file that is absent, damaged, not ours, or of a newer schema.
RunRecord read_run_file(const std::string& path, RunParts parts = RunParts::kAll);

// Puts the user block before an HDF5 image; write_run_file does it itself.
std::string seal_image(std::string_view image);
inline constexpr size_t kUserBlockBytes = 512;

}  // namespace sage
