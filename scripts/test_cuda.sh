#!/usr/bin/env bash
# Runs the shared kernel tests on this machine's GPU, times its operations, and prints a report; `make test-cuda` calls it. Exit status 3
# where there is no toolkit or no device, 1 where a test failed.
#
# The build is one of its own, for the architecture of this device only.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${JOBS:-$(nproc)}
build=build/cuda
folders="core;kernels;strategies;results;experiments;analysis;tests/kernels;tests/cuda_compiled"

fail() {
  echo "test-cuda: $*" >&2
  exit 3
}

nvcc=$(scripts/setup.sh nvcc)
[[ -n $nvcc ]] || fail "no nvcc; expected CUDA 12.0 or newer; set CUDACXX to nvcc or CUDA_HOME to the toolkit's folder."

# A program of ten lines that asks the runtime: before a build of minutes that could not run.
probe=$(mktemp -d) || exit 1
trap 'rm -rf "$probe"' EXIT
cat > "$probe/probe.cu" << 'END'
#include <cstdio>
#include <cuda_runtime_api.h>
int main() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error != cudaSuccess || count == 0) {
    std::printf("%s (%d): %s", cudaGetErrorName(error), error, error == cudaSuccess ? "the driver knows no device" : cudaGetErrorString(error));
    return 3;
  }
  cudaDeviceProp p{};
  if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) return 3;
  std::printf("%d%d\n%s, %.1f GB, %d multiprocessors\n%d.%d\n%d.%d\n", p.major, p.minor, p.name, p.totalGlobalMem / 1e9, p.multiProcessorCount,
              driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}
END
"$nvcc" -o "$probe/probe" "$probe/probe.cu" > "$probe/log" 2>&1 || {
  cat "$probe/log" >&2
  fail "$nvcc does not compile a small program; expected a working toolkit with its C++ compiler; see above."
}
answer=$("$probe/probe") ||
  fail "no device answers: $answer; expected an NVIDIA GPU and its driver; run this on a machine that has both. Nothing was built, nothing was tested."
{ read -r capability; read -r device; read -r driver; read -r toolkit; } <<< "$answer"

echo "== building for sm_$capability ($device)"
CUDACXX=$nvcc cmake --preset release -B "$build" --log-level=WARNING -DSAGE_CUDA=ON "-DSAGE_CUDA_ARCHITECTURES=$capability-real" "-DSAGE_ONLY=$folders" \
  "-DCMAKE_RUNTIME_OUTPUT_DIRECTORY=$PWD/$build/bin" > /dev/null || exit 1
cmake --build "$build" --parallel "$jobs" --target sage_test_kernels sage_test_cuda_compiled sageptq || exit 1

echo "== testing"
export SAGE_REQUIRE_CUDA=1
status=0
"$build/bin/sage_test_kernels" --gtest_brief=1 --gtest_filter='*/cuda:Backends.*' --gtest_output="json:$build/kernels.json" || status=1
"$build/bin/sage_test_cuda_compiled" --gtest_brief=1 --gtest_output="json:$build/api.json" || status=1

echo "== timing (some minutes)"
"$build/bin/sageptq" bench --device cuda > "$build/bench.txt" || { echo "the benchmarks did not finish" > "$build/bench.txt"; status=1; }

echo
echo "== report (worth sending to the project, whatever it says)"
echo "device    $device, sm_$capability"
echo "driver    serves up to CUDA $driver$(command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1 | sed 's/^/, version /')"
echo "toolkit   $("$nvcc" --version | sed -n 's/.*release \([^,]*\), V\(.*\)/\2/p'), runtime $toolkit"
echo "commit    $(git rev-parse HEAD 2> /dev/null || echo unknown)$(git diff --quiet HEAD 2> /dev/null || echo ' with changes')"
python3 - "$build/kernels.json" "$build/api.json" << 'END'
import json, sys

tests = []
for path in sys.argv[1:]:
    try:
        suites = json.load(open(path))["testsuites"]
    except (OSError, ValueError) as error:
        print(f"tests     {path}: {error}: the program did not finish")
        continue
    tests += [(f"{suite['name']}.{test['name']}", test) for suite in suites for test in suite["testsuite"]]
failed = [name for name, test in tests if "failures" in test]
skipped = [name for name, test in tests if test.get("result") == "SKIPPED"]
print(f"tests     {len(tests) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
for name in failed:
    print(f"  failed  {name}")
for name, test in sorted(tests, key=lambda t: -float(t[1]["time"].rstrip("s")))[:5]:
    print(f"  longest {float(test['time'].rstrip('s')):8.3f} s  {name}")
END
echo
cat "$build/bench.txt"
exit $status
