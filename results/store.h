// The folder that keeps runs:
//
//   runs/ab/ab12...h5          one complete run each, immutable; ab12...failed.h5: a failed one; ab12...former-1.h5: a complete one
//                              that was made again
//   pending/<key>/             work in progress: claims, and whatever a run needs to resume
//   sweeps/<name>.json         manifests: which runs belong to a sweep, in which order; <name>.lock beside: who runs it
//
// There is no index to go stale: what is stored is what the folders hold. Copying one store over another merges them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "results/run_record.h"

namespace sage {

// The right to work on one run, against other workers on this and other machines that share the store. While it lives a
// thread renews its time every few seconds; when it dies by SIGKILL others take over once that time is old, or at once if they
// run on the same machine and see that the process is gone, or dead and not yet reaped by its parent.
class Claim {
 public:
  ~Claim();  // gives the right back, leaves the pending folder for the next worker
  Claim(Claim&&) noexcept;
  Claim& operator=(Claim&&) noexcept;
  const std::string& folder() const;  // pending/<key>, for checkpoints
  void finish();                      // the run is stored: removes the pending folder

 private:
  friend class Store;
  struct State;
  explicit Claim(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct StoredRun {
  std::string path;
  RunRecord record;   // summary parts
  std::string error;  // why the file could not be read, else empty
};

class Store {
 public:
  explicit Store(std::string root, double stale_after_seconds = 120);
  // $SAGEPTQ_STORE, else results/store below the working folder.
  static std::string default_root();

  const std::string& root() const { return root_; }
  std::string path_of(const std::string& key) const;  // UserError unless the key is 8 to 64 lower-case hex digits
  std::string failed_path_of(const std::string& key) const;
  std::string pending_folder(const std::string& key) const;
  std::string sweep_path(const std::string& name) const;
  bool exists(const std::string& key) const;  // complete only
  bool failed(const std::string& key) const;

  // Writes the record where it belongs; a complete run replaces the record of an earlier failure. Returns the path. Call it
  // holding the claim. The record of a complete run is never touched again: where there is one, nothing is written and its path
  // is returned.
  std::string put(const RunRecord& record) const;
  // Moves the complete record of a run aside, unchanged, to ab12...former-N.h5, where it is no longer found by its key and can
  // still be read by its path; a packed folder kept with it likewise. Then the run can be made again. Returns the new path, or "" if
  // there is no complete record (another process may have moved it).
  std::string set_aside(const std::string& key) const;
  RunRecord get(const std::string& key) const;  // complete, else failed, else ResourceError
  // All runs, sorted by key. Damaged files are listed with their error.
  std::vector<StoredRun> list() const;
  // Full keys of stored runs that begin with `prefix`.
  std::vector<std::string> find(const std::string& prefix) const;

  // nullopt if a live worker holds the run, or it is complete already.
  std::optional<Claim> claim(const std::string& key) const;
  // The live worker that holds the run, "process 4711 on host h"; empty if nobody does.
  std::string holder(const std::string& key) const;
  // UserError if `path` lies inside the store, where it would be taken for a record or be removed with one.
  void keep_out(const std::string& path) const;

 private:
  std::string root_;
  double stale_after_;
};

}  // namespace sage
