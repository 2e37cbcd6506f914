#!/usr/bin/env bash
# Makes the folder OUT (build/cuda-bundle) and OUT.tar.gz, with everything to test and time the CUDA backend on another machine that
# has an NVIDIA driver, and no compiler, no Python and no packages of ours: run.sh there says more; `make cuda-bundle` calls this.
# Exit status 3 where there is no nvcc.
#
# SAGE_BUNDLE_BUILD names a build folder whose programs are taken as they are (tests do so); otherwise a build of its own is made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${JOBS:-$(nproc)}
out=${OUT:-build/cuda-bundle}
largest=${SAGE_BUNDLE_MB:-60}  # MB of the folder
build=${SAGE_BUNDLE_BUILD:-}
programs=(sageptq sage_test_kernels sage_test_cuda_compiled sage_test_cuda_packed)
folders="core;kernels;strategies;results;experiments;analysis;tests/kernels;tests/cuda_compiled;tests/cuda_packed"

fail() {
  local code=$1
  shift
  echo "cuda-bundle: $*" >&2
  exit "$code"
}

if [[ -z $build ]]; then
  nvcc=$(scripts/setup.sh nvcc)
  [[ -n $nvcc ]] || fail 3 "no nvcc; expected CUDA 12.0 or newer; set CUDACXX to nvcc or CUDA_HOME to the toolkit's folder."
  build=build/bundle-programs
  echo "== building for all architectures in $build"
  CUDACXX=$nvcc cmake --preset release -B "$build" --log-level=WARNING -DSAGE_CUDA=ON "-DSAGE_ONLY=$folders" \
    "-DCMAKE_RUNTIME_OUTPUT_DIRECTORY=$PWD/$build/bin" > /dev/null
  cmake --build "$build" --parallel "$jobs" --target "${programs[@]}"
fi
for program in "${programs[@]}"; do
  [[ -x $build/bin/$program ]] || fail 1 "$build/bin/$program is missing; expected a build with CUDA and tests; build it, or leave SAGE_BUNDLE_BUILD unset"
done
fake=$(find "$build" -name libsage_fake_cublas.so -print -quit)
[[ -n $fake ]] || fail 1 "$build has no libsage_fake_cublas.so; expected a build with CUDA"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
files=$stage/files
mkdir -p "$files"/{bin,lib/glibc,share/presets,share/toy}
for program in "${programs[@]}"; do
  strip -o "$files/bin/$program" "$build/bin/$program"
done
strip -o "$files/lib/libsage_fake_cublas.so" "$fake"

# All shared libraries, the C library's apart: a machine that has a newer one uses its own.
declare -A taken
for program in "${programs[@]}"; do
  while read -r name path; do
    [[ -n $path && -z ${taken[$name]:-} ]] || continue
    taken[$name]=1
    case $name in
      libcuda.so*) ;;
      libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.* | libutil.so.* | ld-linux*) cp -L "$path" "$files/lib/glibc/$name" ;;
      *) cp -L "$path" "$files/lib/$name" ;;
    esac
  done < <(ldd "$build/bin/$program" | sed -nE 's/^\s*(\S+) => (\S+) \(.*/\1 \2/p; s/^\s*(\/\S*\/)(ld-linux\S+) \(.*/\2 \1\2/p')
  ! ldd "$build/bin/$program" | grep -q 'not found' || fail 1 "$build/bin/$program: a shared library is not found: $(ldd "$build/bin/$program" | grep 'not found')"
done
# What cuBLAS and the driver ask of the C library beyond that.
c_library=$(dirname "$(ldd "$build/bin/sageptq" | sed -nE 's/^\s*libc\.so\.6 => (\S+) .*/\1/p')")
for name in libdl.so.2 libpthread.so.0 librt.so.1 libutil.so.1 libresolv.so.2; do
  if [[ -e $c_library/$name ]]; then cp -L "$c_library/$name" "$files/lib/glibc/"; fi
done

cp experiments/presets/*.yaml "$files/share/presets/"
rmdir "$files/share/toy"
SAGEPTQ_PRESETS=$PWD/experiments/presets "$build/bin/sageptq" synth --shape toy --layers 2 -o "$files/share/toy" > /dev/null
cp tests/data/tokenizer/gpt2/tokenizer.json "$files/share/toy/"
words=(the of and a in to is was for on as with by that it from at his an were are which this also be has or had its one)
for ((line = 0, x = 1; line < 60; ++line)); do
  text=()
  for ((i = 0; i < 30; ++i)); do
    x=$(((x * 1103515245 + 12345) % 2147483648))
    text+=("${words[$((x / 65536 % ${#words[@]}))]}")
  done
  echo "${text[*]}"
done > "$files/share/toy/text.txt"
# Read before anything is written to the pipe's end: grep -q would close it early.
doctor=$("$build/bin/sageptq" doctor 2> /dev/null)
{
  echo "commit $(git rev-parse HEAD 2> /dev/null || echo unknown)$(git diff --quiet HEAD 2> /dev/null || echo ' with changes')"
  echo "toolkit $(sed -n 's/^  toolkit  *//p' <<< "$doctor")"
  echo "glibc $(ldd --version | sed -n '1s/.* //p')"
  echo "made $(date -u +%Y-%m-%dT%H:%MZ)"
} > "$files/about"

mkdir "$stage/bundle"
tar -czf "$stage/bundle/files.tar.gz" --owner=0 --group=0 -C "$files" .
install -m 755 scripts/cuda_bundle_run.sh "$stage/bundle/run.sh"
bytes=$(du -sb "$stage/bundle" | cut -f1)
((bytes <= largest * 1000000)) || fail 1 "the folder has $((bytes / 1000000)) MB; expected at most $largest; see what grew in $build/bin, or raise SAGE_BUNDLE_MB"
rm -rf "$out" "$out.tar.gz"
mkdir -p "$(dirname "$out")"
name=$(basename "$out")
mv "$stage/bundle" "$stage/$name"
tar -czf "$stage/$name.tar.gz" --owner=0 --group=0 -C "$stage" "$name"
mv "$stage/$name.tar.gz" "$out.tar.gz"
mv "$stage/$name" "$out"
echo "$out: $((bytes / 1000000)) MB, also as $out.tar.gz; on a machine with a GPU: $name/run.sh"
