#!/usr/bin/env bash
# compile_cuda.sh COMMAND...: runs a compilation by nvcc. Its messages are shown without ptxas's statistics (registers, shared memory, spills of
# every kernel), which are kept with the rest in OBJECT.ptxas beside the object; scripts/ptxas_table.py reads them there.
set -uo pipefail

object=""
previous=""
for argument in "$@"; do
  [[ $previous == -o ]] && object=$argument
  previous=$argument
done
[[ $object == *.o ]] || exec "$@"

"$@" 2> "$object.ptxas.part"
status=$?
mv "$object.ptxas.part" "$object.ptxas"
grep -Ev '^ptxas info |^ +[0-9]+ bytes stack frame' "$object.ptxas" >&2
exit $status
