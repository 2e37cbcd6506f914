#include "experiments/engine/provenance.h"

#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "experiments/engine/libraries.h"
#include "sage_build_info.h"

namespace sage {

std::string iso_time_now() {
  const std::time_t t = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string program_version() { return fmt::format("{} ({}{})", kVersion, std::string_view(kCommit).substr(0, 12), kCommitDirty ? "*" : ""); }

std::string build_digest() { return kSourceDigest; }

bool of_another_build(const RunProvenance& p) { return !p.source_digest.empty() && p.source_digest != build_digest(); }

std::string other_builds_note(const std::vector<std::pair<std::string, const RunRecord*>>& labelled) {
  std::string labels;
  for (const auto& [label, record] : labelled)
    if (record->complete() && of_another_build(record->provenance)) {
      const std::string commit = record->provenance.commit.substr(0, 8) + (record->provenance.dirty ? "*" : "");
      labels += fmt::format("{}{}{}", labels.empty() ? "" : ", ", label, commit.empty() ? "" : " (" + commit + ")");
    }
  return labels.empty() ? "" : fmt::format("Stored by another build than this program: {}. The same command with --rerun makes them again.", labels);
}

RunProvenance describe_process(const std::vector<std::string>& argv, const Backend& backend) {
  RunProvenance p;
  p.commit = kCommit;
  p.dirty = kCommitDirty;
  p.diff_digest = kDiffDigest;
  p.source_digest = kSourceDigest;
  p.argv = argv;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  p.host = host;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.rfind("model name", 0) == 0) {
      p.cpu = line.substr(line.find(':') + 2);
      break;
    }
  p.threads = omp_get_max_threads();
  p.backend = backend.name() + ": " + backend.description();
  p.libraries = library_versions();
  p.libraries.insert(p.libraries.begin(), {"sage-ptq", program_version()});
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID"})
    if (const char* id = std::getenv(name)) p.job = id;
  return p;
}

}  // namespace sage
