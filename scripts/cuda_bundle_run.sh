#!/usr/bin/env bash
# Runs what is in this folder on a machine with an NVIDIA GPU: kernel tests, a toy model from weights to perplexity beside the CPU,
# and benchmarks. Needs a driver and cuBLAS, no compiler, no Python, no network.
#
#   ./run.sh [--out DIR] [--seconds N] [--on-cpu]
#
#   --out DIR    where results go; a new folder, by default ./sage-cuda-HOST-DATE
#   --seconds N  all steps together take no longer (480)
#   --on-cpu     tries the script itself where there is no GPU: kernels are executed on the CPU, which says nothing about one
#
# DIR/report.txt is written anew after every step, and each step writes its own file as it goes: a run that is cut short leaves all it
# had. Exit status: 0 all passed; 1 something failed or was cut short; 2 wrong usage; 3 no device: nothing was tested.
set -uo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out="" total=480 on_cpu=0

usage() {
  echo "run.sh: $*; expected: ./run.sh [--out DIR] [--seconds N] [--on-cpu]" >&2
  exit 2
}
while [[ $# -gt 0 ]]; do
  case $1 in
    --out) [[ -n ${2:-} ]] || usage "--out without a folder"; out=$2; shift 2 ;;
    --seconds) [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || usage "--seconds '${2:-}'"; total=$2; shift 2 ;;
    --on-cpu) on_cpu=1; shift ;;
    *) usage "'$1'" ;;
  esac
done
[[ $(uname -m) == x86_64 ]] || { echo "run.sh: this machine is $(uname -m); expected x86_64; make the bundle on a machine of its kind" >&2; exit 3; }

device=cuda
((on_cpu)) && device=cuda_on_cpu
[[ -n $out ]] || out=$PWD/sage-cuda-$(uname -n)-$(date +%Y%m%d-%H%M%S)
[[ ! -e $out ]] || usage "$out exists; results need a folder of their own"

# A place for the files, where programs may be started.
work=""
for place in "${TMPDIR:-/tmp}" /var/tmp "$PWD"; do
  work=$(mktemp -d "$place/sage-cuda.XXXXXX" 2> /dev/null) || continue
  printf '#!/bin/sh\n' > "$work/try" && chmod +x "$work/try" && "$work/try" 2> /dev/null && break
  rm -rf "$work"
  work=""
done
[[ -n $work ]] || { echo "run.sh: no folder to unpack into among ${TMPDIR:-/tmp}, /var/tmp and $PWD; expected one where programs may be started; name one in TMPDIR" >&2; exit 1; }
trap 'rm -rf "$work"' EXIT
tar -xzf "$here/files.tar.gz" -C "$work" || { echo "run.sh: $here/files.tar.gz does not unpack into $work; expected some 120 MB of room and the whole file" >&2; exit 1; }

# The machine's own loader and C library where they are new enough, else those in the bundle. SAGE_BUNDLE_LOADER=system|own decides.
extra_libraries="" launch=() loader=${SAGE_BUNDLE_LOADER:-}
choose_launch() {
  local path=$work/lib${extra_libraries:+:$extra_libraries}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} folder
  if [[ -z $loader ]]; then
    if env LD_LIBRARY_PATH="$path" "$work/bin/sageptq" --version > /dev/null 2>&1; then loader=system; else loader=own; fi
  fi
  if [[ $loader == system ]]; then
    launch=(env "LD_LIBRARY_PATH=$path")
  else
    # Debian's loader does not look everywhere that other distributions keep the driver.
    for folder in /usr/lib64 /usr/lib64/nvidia /usr/lib/x86_64-linux-gnu /usr/lib/wsl/lib /usr/local/nvidia/lib64; do
      if [[ -e $folder/libcuda.so.1 ]]; then path+=:$folder; fi
    done
    launch=("$work/lib/glibc/ld-linux-x86-64.so.2" --library-path "$work/lib/glibc:$path")
  fi
}
choose_launch
export SAGEPTQ_CACHE=$work/cache SAGEPTQ_STORE=$work/store SAGEPTQ_PRESETS=$work/share/presets SAGE_FAKE_CUBLAS=$work/lib/libsage_fake_cublas.so
unset SAGEPTQ_DATA
program() { "${launch[@]}" "$work/bin/sageptq" "$@"; }
doctor() { program doctor 2>&1; }
line_of() { sed -n "s/^  $1  *//p" <<< "$state" | head -1; }

state=$(doctor) || { echo "run.sh: the program does not start: $state" >&2; exit 1; }
cublas=1
if [[ $(line_of cuda) == "not available: cuBLAS: "* ]]; then
  for version in 13 12; do
    for folder in "${CUDA_HOME:-/none}"/lib64 "${CUDA_PATH:-/none}"/lib64 /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /opt/cuda/lib64 \
        /opt/nvidia/hpc_sdk/Linux_x86_64/*/math_libs/lib64 "${CONDA_PREFIX:-/none}"/lib \
        {"${VIRTUAL_ENV:-/none}","${CONDA_PREFIX:-/none}","${HOME:-/none}/.local",/usr/local,/usr,/opt/*}/lib/python3*/{site,dist}-packages/nvidia/{cublas,cu13,cu12}/lib; do
      [[ -e $folder/libcublas.so.$version ]] || continue
      extra_libraries=$folder
      break 2
    done
  done
  choose_launch
  state=$(doctor)
  if [[ $(line_of cuda) == "not available: cuBLAS: "* ]]; then cublas=0; fi
fi
if ((!on_cpu && cublas)) && [[ $(line_of cuda) == "not available"* || -z $(line_of cuda) ]]; then
  reason=$(line_of cuda)
  echo "run.sh: no device answers: ${reason#not available: }; driver: $(line_of driver); expected an NVIDIA GPU of compute capability 8.0 or newer and a driver" \
    "for CUDA $(sed -n 's/^toolkit \([0-9.]*\).*/\1/p' "$work/about"); run this on a machine that has both. Nothing was tested." >&2
  exit 3
fi

mkdir -p "$out" || { echo "run.sh: $out cannot be made; expected a writable place; name one with --out" >&2; exit 1; }
out=$(cd "$out" && pwd)
printf '%s\n' "$state" > "$out/doctor.txt"
started=$SECONDS
status=0
steps=()  # "what came of it", a line each
left() { echo $((total - (SECONDS - started))); }

# Of a log of GoogleTest: counts, and what one would ask first.
test_words() {
  local log=$1 passed failed skipped last
  passed=$(grep -c '^\[       OK \]' "$log")
  failed=$(grep -cE '^\[  FAILED  \] .* \([0-9]+ ms\)$' "$log")
  skipped=$(grep -cE '^\[  SKIPPED \] .* \([0-9]+ ms\)$' "$log")
  echo "$passed passed, $failed failed, $skipped skipped"
  sed -nE 's/^\[  FAILED  \] (.*) \([0-9]+ ms\)$/    failed   \1/p' "$log" | head -20
  last=$(grep -E '^\[ RUN      \]|^\[       OK \]|^\[  FAILED  \]|^\[  SKIPPED \]|^\[==========\]' "$log" | tail -1)
  if [[ $last == "[ RUN "* ]]; then echo "    stopped in ${last#\[ RUN      \] }"; fi
  sed -nE 's/^\[       OK \] (.*) \(([0-9]+) ms\)$/\2 \1/p' "$log" | sort -rn | head -3 | sed 's/^\([0-9]*\) /    longest  \1 ms  /'
}

write_report() {
  {
    echo "== sage-ptq on a GPU: a report worth sending to the project, whatever it says"
    if ((on_cpu)); then echo "EXECUTED ON THE CPU: this tries the script; nothing here says anything about a GPU"; fi
    echo "device   $(if ((on_cpu)); then line_of cuda_on_cpu; elif ((cublas)); then line_of cuda; else echo 'answers'; fi)"
    echo "driver   $(line_of driver)$(command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=driver_version,name --format=csv,noheader 2> /dev/null | head -1 | sed 's/^/; version /')"
    echo "cuBLAS   $(if ((on_cpu)); then echo 'not used'; elif ((!cublas)); then echo 'NOT FOUND: products, the toy model and benchmarks are skipped'; else echo "${extra_libraries:-as the loader finds it}"; fi)"
    echo "host     $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), threads: $(line_of threads)"
    echo "loader   $loader ($(sed -n 's/^glibc //p' "$work/about") in the bundle)"
    sed 's/^\([^ ]*\) */\1  /; s/^/bundle   /' "$work/about"
    echo "time     $((SECONDS - started)) s of $total s${1:+; $1}"
    echo
    printf '%s\n' "${steps[@]}"
    if [[ -s $out/toy.txt ]]; then echo; echo "== toy model, $device beside cpu"; cat "$out/toy.txt"; fi
    if [[ -s $out/bench.txt ]]; then
      echo
      cat "$out/bench.txt"
    elif [[ -s $out/bench.log ]]; then
      echo
      echo "== benchmarks that were done before the time was up"
      grep ': best ' "$out/bench.log"
    fi
  } > "$out/report.new"
  mv "$out/report.new" "$out/report.txt"
}
child=""
stop() {
  trap '' INT TERM HUP
  if [[ -n $child ]]; then kill "$child" && wait "$child"; fi 2> /dev/null  # timeout passes it on
  write_report "interrupted"
  echo "run.sh: interrupted; what there is lies in $out" >&2
  exit 1
}
trap stop INT TERM HUP

# step NAME MOST COMMAND...: at most MOST seconds, and what is left of all. `tests` before a program of GoogleTest: its log is kept, and
# counted for the report.
step() {
  local name=$1 most=$2 begun=$SECONDS rest code word
  shift 2
  rest=$(left)
  if ((rest - 5 < most)); then most=$((rest - 5)); fi
  if ((most < 1)); then
    steps+=("CUT      $name: no time was left")
    status=1
    write_report
    return
  fi
  echo "== $name (at most $most s)"
  if [[ $1 == tests ]]; then
    timeout -k 3 "$most" "${@:2}" > "$out/$name.log" 2>&1 &
  else
    timeout -k 3 "$most" "$@" &
  fi
  child=$!
  wait "$child"
  code=$?
  child=""
  word=PASSED
  if ((code != 0)); then word="FAILED ($code)" status=1; fi
  if ((code == 124 || code == 137)); then word=CUT; fi
  steps+=("$(printf '%-8s %s, %d s' "$word" "$name" $((SECONDS - begun)))")
  printf '%s\n' "${steps[-1]}"
  if [[ $1 == tests ]]; then steps+=("    $(test_words "$out/$name.log")"); fi
  write_report
}
tests() {  # NAME MOST PROGRAM FILTER
  step "$1" "$2" tests "${launch[@]}" "$work/bin/$3" --gtest_color=no "--gtest_filter=$4"
}

# Without cuBLAS, what needs a product.
products="" packed_products=""
if ((!cublas)) || [[ ${SAGE_WITHOUT_CUBLAS:-} == 1 ]]; then
  export SAGE_WITHOUT_CUBLAS=1
  cublas=0
  products=":*Gram*:*Head.*:*Forward.Linear/*:*Forward.ResultsDoNotDependOnThreads/*:*Compensation.SubtractProduct/*:*CompensationThreads.*"
  packed_products=":*PanelsMultiplyManyVectors*"
fi
((on_cpu)) || export SAGE_REQUIRE_CUDA=1
export SAGE_TEST_DEVICE=$device
write_report "under way"

no_cublas=""
if ((on_cpu || !cublas)); then no_cublas="-Cublas.OfTheToolkit*"; fi
tests api 40 sage_test_cuda_compiled "*$no_cublas"
tests kernels $((total * 4 / 10)) sage_test_kernels "Backends/*/$device-$products"
tests packed $((total / 8)) sage_test_cuda_packed "Kinds/*:PackedMatrix.TakesViews*:PackedMatrix.Segments*:PackedMatrix.HalfSalient*:PackedMatrix.ColumnsBeyond*-$packed_products"

# The toy model. What needs no calibration must be the CPU's file to the byte; Grams differ in their last bits, and with them may a code.
cat > "$work/toy.sh" << 'END'
out=$1 work=$2 device=$3; shift 3
launch=("$@")
model=$work/share/toy text=$work/share/toy/text.txt status=0
perplexity() { sed -n 's/.*"perplexity": *"\{0,1\}\([0-9.e+-]*\).*/\1/p' "$1" | head -1; }
run() {  # METHOD DEVICE OPTION...
  local name=$work/toy-$1-$2
  "${launch[@]}" "$work/bin/sageptq" -q run "$1" --model "$model" --text "$text" --protocol gptq-64 --windows 3 --format json --device "$2" -o "$name" "${@:3}" \
    > "$name.json" 2>> "$out/toy.log" || { echo "$1 on $2: failed, see toy.log" >> "$out/toy.txt"; status=1; return 1; }
}
calibrated=(--set calibration.samples=2 --set calibration.length_tokens=32 --set "calibration.dataset=$text")
for method in rtn sage_paper gptq billm_released; do
  options=() most=0
  if [[ $method != rtn && $method != sage_paper ]]; then options=("${calibrated[@]}") most=10; fi
  run $method cpu "${options[@]}" && run $method "$device" "${options[@]}" || continue
  here=$work/toy-$method-cpu there=$work/toy-$method-$device
  bytes=$(wc -c < "$here/model.safetensors")
  differing=$(cmp -l "$here/model.safetensors" "$there/model.safetensors" 2> /dev/null | wc -l)
  if [[ $(wc -c < "$there/model.safetensors") != "$bytes" ]]; then differing=$bytes; fi
  a=$(perplexity "$here.json") b=$(perplexity "$there.json")
  verdict=ok
  # Where files are equal, FP32 sums in another order are all that may differ.
  if ((differing * 1000 > bytes * most)) || ! awk -v a="$a" -v b="$b" -v equal=$((differing == 0)) 'BEGIN { d = (a - b) / a; if (d < 0) d = -d; exit !(a > 0 && d <= (equal ? 1e-4 : 0.05)) }'; then
    verdict=DIFFERS status=1
  fi
  printf '%-8s %-16s %d of %d bytes differ; perplexity %s on cpu, %s here\n' $verdict $method "$differing" "$bytes" "$a" "$b" >> "$out/toy.txt"
done
if [[ $device == cuda ]]; then
  for precision in bf16 fp16; do
    run sage_paper cuda-$precision && printf '%-8s %-16s perplexity %s with products in %s\n' - sage_paper "$(perplexity "$work/toy-sage_paper-cuda-$precision.json")" $precision >> "$out/toy.txt"
  done
fi
exit $status
END
if ((cublas)); then
  step toy $((total / 5)) bash "$work/toy.sh" "$out" "$work" "$device" "${launch[@]}"
  step bench "$total" bash -c 'out=$1; shift; exec "$@" > "$out/bench.txt" 2> "$out/bench.log"' - "$out" "${launch[@]}" "$work/bin/sageptq" bench --device "$device"
else
  steps+=("SKIPPED  products, toy, bench: cuBLAS of CUDA 12 or 13 was not found; name its folder in LD_LIBRARY_PATH")
  status=1
fi
write_report
echo
cat "$out/report.txt"
echo
echo "report: $out/report.txt"
exit $status
