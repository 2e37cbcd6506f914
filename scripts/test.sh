#!/usr/bin/env bash
# Builds and runs every test; `make test` calls it. One CTest run covers three builds, quick things first: the optimised one (g++)
# with all tests, the one that looks for data races between CUDA threads, and the sanitized one (clang) with the fast areas again
# and the fuzz targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${JOBS:-$(nproc)}
# These areas run whole programs or scripts; the sanitizers would repeat them slowly and see little that is new.
unsanitized=" fuzz setup support e2e "

# Tests that need what could not be fetched skip themselves and say so; everything else must not wait for a network.
try() {
  "$@" || echo "note: '$*' failed; tests that need its result will be skipped." >&2
}
try scripts/setup.sh venv
try "${SAGEPTQ_PYTHON:?run this through make test}" scripts/fetch_model.py
try "$SAGEPTQ_PYTHON" scripts/fetch_text.py

settings=()
[[ -x $SAGEPTQ_PYTHON ]] && settings+=("-DSAGE_PYTHON=$SAGEPTQ_PYTHON")
[[ -n ${SAGE_CUDA:-} ]] && settings+=("-DSAGE_CUDA=$SAGE_CUDA")

build() {
  local preset=$1
  shift
  echo "== building: $preset"
  cmake --preset "$preset" --log-level=WARNING "${settings[@]}" -DSAGE_FUZZ_SECONDS="${FUZZ_SECONDS:-30}" > /dev/null
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
