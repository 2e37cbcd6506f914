#!/usr/bin/env bash
# Builds and runs every test; `make test` calls it. One CTest run covers three builds, quick things first: the optimised one (g++)
# with all tests, the one that looks for data races between CUDA threads, and the sanitized one (clang) with some areas again and
# the fuzz targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${JOBS:-$(nproc)}
# Areas that are not built again for the sanitizers. These are for whoever reads foreign bytes (configurations, models, texts, packed
# files, records) or does memory work of its own (coders, groups, segments, Grams, CUDA threads and their memory). Of the others,
# baselines, device and readme go through the same rooms from further above, cli_unit would compile the command line (a fifth of that
# build) for what Boost parses, house reads our own sources, cuda_compiled is empty there, and the rest are scripts and whole programs.
unsanitized=" baselines cli_unit cuda_compiled device e2e fuzz house readme setup support "

# Tests that need what could not be fetched skip themselves and say so; everything else must not wait for a network.
try() {
  "$@" || echo "note: '$*' failed; tests that need its result will be skipped." >&2
}
try scripts/setup.sh venv
try "${SAGEPTQ_PYTHON:?run this through make test}" scripts/fetch_model.py
try "$SAGEPTQ_PYTHON" scripts/fetch_text.py

# Named in any case: a configured build remembers an environment that may be gone.
settings=(-DSAGE_PYTHON=)
[[ -x $SAGEPTQ_PYTHON ]] && settings=("-DSAGE_PYTHON=$SAGEPTQ_PYTHON")
[[ -n ${SAGE_CUDA:-} ]] && settings+=("-DSAGE_CUDA=$SAGE_CUDA")

build() {
  local preset=$1
  shift
  echo "== building: $preset"
  cmake --preset "$preset" --log-level=WARNING "${settings[@]}" -DSAGE_FUZZ_SECONDS="${FUZZ_SECONDS:-5}" > /dev/null
  cmake --build --preset "$preset" --parallel "$jobs" --target "$@"
}

areas=()
for area in tests/*/CMakeLists.txt; do
  area=$(basename "$(dirname "$area")")
  [[ $unsanitized == *" $area "* ]] || areas+=("tests/$area")
done

build release all
build tsan all
build asan "${areas[@]/%//all}" tests/fuzz/all

# A CTest file above both, made anew so that no order or failure of an earlier run is remembered.
rm -rf build/test
mkdir -p build/test
{
  echo "subdirs(\"$PWD/build/release\")"
  echo "subdirs(\"$PWD/build/tsan\")"
  for area in "${areas[@]}"; do echo "subdirs(\"$PWD/build/asan/$area\")"; done
  echo "subdirs(\"$PWD/build/asan/tests/fuzz\")"
} > build/test/CTestTestfile.cmake

export OMP_WAIT_POLICY=passive  # Tests run side by side: waiting threads must not spin.
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
exec ctest --test-dir build/test --parallel "$jobs" --output-on-failure
