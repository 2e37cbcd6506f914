#!/usr/bin/env bash
# fresh.sh: runs README's two commands in a Debian 12 that has nothing else; `make fresh` calls it. So it finds what set-up forgets to
# install, and what works only because this machine has it.
#
# debootstrap makes a minimal Debian with what a user has who could clone the project (make, git, certificates). Every pass starts from
# a copy of it with a clean clone of the current commit, in namespaces of its own. Nothing of the host is visible: its environment is
# cleared, its only folder there is the CUDA toolkit (pass `cuda`, read-only). What the network needs is handed on and printed:
# name servers, apt's proxies, pip's index, proxies and certificates.
#
#   FRESH="cpu cuda"                passes: without nvcc, and with the host's toolkit (default: both where the host has one)
#   FRESH_STEPS="quickstart test"   targets of make that each pass runs
#   FRESH_DIR=DIR                   where to work (default: a new folder below TMPDIR); a full run needs about 8 GB
#   FRESH_KEEP=1                    leave the systems in FRESH_DIR; the next run takes the minimal Debian from there
#   FRESH_MIRROR=URL                Debian mirror (default: the host's, where it is a Debian 12 itself)
#
# Exit status: 0 all steps passed, 1 one failed, 2 wrong arguments, 3 it could not start, 130 interrupted. Logs stay in build/fresh/.
set -uo pipefail

suite=bookworm
clone=root/sage-ptq  # below a system's root
at_first=make,git,ca-certificates
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "fresh: ${*:2}" >&2
  exit "$1"
}

# inside SYSTEM CACHE TOOLKIT COMMAND...: process 1 of namespaces of its own. What it mounts and whoever it starts is gone when it ends.
inside() {
  local system=$1 cache=$2 toolkit=$3
  shift 3
  set -e
  mount -t proc proc "$system/proc"
  mount -t sysfs -o ro sysfs "$system/sys"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$system/dev/pts"
  mount --bind "$system/dev/pts/ptmx" "$system/dev/ptmx"
  mount -t tmpfs tmpfs "$system/dev/shm"
  mkdir -p "$system/root/.cache/ccache"
  mount --bind "$cache" "$system/root/.cache/ccache"
  if [[ -n $toolkit ]]; then
    mkdir -p "$system/usr/local/cuda"
    mount --bind "$toolkit" "$system/usr/local/cuda"
    mount -o remount,bind,ro "$system/usr/local/cuda"
  fi
  set +e
  chroot "$system" "$@"  # Not exec: make must not be process 1, which has orphans to reap.
  exit
}
if [[ ${1:-} == --inside ]]; then inside "${@:2}"; fi
(($# == 0)) || fail 2 "found the argument '$1'; expected none; name passes by FRESH=\"cpu cuda\" (the head of scripts/fresh.sh lists all)."

# The folder of the host's toolkit; empty where there is none that can be mounted by itself.
find_toolkit() {
  local nvcc folder
  nvcc=$("$source/scripts/setup.sh" nvcc 2> /dev/null)
  [[ -x $nvcc ]] || return 0
  folder=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  # A distribution's own package spreads over /usr.
  [[ $folder == /usr || $folder == / || ! -f $folder/include/cuda_runtime_api.h ]] || echo "$folder"
}

toolkit=$(find_toolkit)
passes=${FRESH:-cpu${toolkit:+ cuda}}
steps=${FRESH_STEPS:-quickstart test}
for pass in $passes; do
  [[ $pass == cpu || $pass == cuda ]] || fail 2 "FRESH: found '$pass'; expected cpu, cuda or both; run make fresh FRESH=\"cpu cuda\"."
  [[ $pass == cpu || -n $toolkit ]] || fail 3 "FRESH: cuda wants a CUDA toolkit on this host, and there is none in a folder of its own;" \
    "set CUDA_HOME to it, or run make fresh FRESH=cpu."
done
for step in $steps; do
  [[ $step =~ ^[a-z][a-z-]*$ ]] || fail 2 "FRESH_STEPS: found '$step'; expected targets of make, such as quickstart and test."
done
((EUID == 0)) || fail 3 "user $(id -un); expected root, who may make a system and mount in it; run sudo make fresh."
for tool in debootstrap unshare chroot git; do
  type -P "$tool" > /dev/null ||
    fail 3 "$tool: not found; it makes or enters the minimal Debian; install it: apt-get install -y --no-install-recommends debootstrap util-linux git"
done
commit=$(git -C "$source" rev-parse --short HEAD 2> /dev/null) ||
  fail 3 "$source: no Git repository; expected one, of which a clean clone is made; clone the project and run make fresh there."
unshare --mount --pid --fork true 2> /dev/null ||
  fail 3 "unshare --mount --pid: not permitted; expected a machine (or a privileged container) where root may make namespaces."

# What is made here is removed at the end, whatever ends it; a folder that was there before stays.
made=""
if [[ -n ${FRESH_DIR:-} ]]; then
  [[ -d $FRESH_DIR ]] || made=1
  mkdir -p "$FRESH_DIR" || fail 3 "FRESH_DIR: $FRESH_DIR cannot be made; name a folder that root may write."
  dir=$(cd "$FRESH_DIR" && pwd)
  for entry in "$dir"/*; do
    [[ ! -e $entry || -f $dir/.sage-ptq-fresh ]] ||
      fail 3 "FRESH_DIR: $dir holds other things ($(basename "$entry")); expected a new or empty folder, or one that make fresh has kept."
  done
else
  dir=$(mktemp -d "${TMPDIR:-/tmp}/sage-ptq-fresh.XXXXXX") || fail 3 "no temporary folder could be made; name one by FRESH_DIR."
  made=1
fi
: > "$dir/.sage-ptq-fresh"
logs=$source/build/fresh
rm -rf "$logs"
mkdir -p "$logs"

child=""
# Mounts are the child's alone, so that nothing here can reach through them.
clean_up() {
  if [[ -n $child ]]; then
    kill -KILL "$child" 2> /dev/null
    wait "$child" 2> /dev/null
  fi
  if [[ ${FRESH_KEEP:-} == 1 ]]; then
    echo "fresh: kept $dir"
    return
  fi
  rm -rf "$dir/base" "$dir/base.part" "$dir/cpu" "$dir/cuda" "$dir/ccache" "$dir/.sage-ptq-fresh"
  [[ -z $made ]] || rmdir "$dir"
}
trap clean_up EXIT
exec 6>&2  # A step's messages go to its log, this one does not.
trap 'trap "" INT TERM HUP; echo "fresh: interrupted" >&6; exit 130' INT TERM HUP

# In the background and waited for, so that a signal is acted upon at once.
run() {
  unshare --mount --propagation private --pid --kill-child "$@" < /dev/null &
  child=$!
  wait "$child"
  local status=$?
  child=""
  return $status
}

results=()
failed=0
# report WHAT STATUS SECONDS REMARK: a line of the closing summary
report() {
  local verdict=ok
  (($2 == 0)) || { verdict="failed" && failed=1; }
  results+=("$(printf '%-18s %-7s %6d s   %s' "$1" "$verdict" "$3" "$4")")
  echo "== $1: $verdict, $3 s${4:+, $4}"
}

# What the network needs, as NAME=VALUE: of the environment, and of pip's own files. Certificates become a file in the system.
network=()
certificates=""
pip_setting() {  # pip_setting KEY: the user's, else the machine's
  cat "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf" /etc/pip.conf 2> /dev/null |
    sed -nE "s/^[[:space:]]*$1[[:space:]]*[=:][[:space:]]*(.*[^[:space:]])[[:space:]]*$/\1/p" | head -1
}
find_network() {
  local name key value
  for name in http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY; do
    [[ -z ${!name:-} ]] || network+=("$name=${!name}")
  done
  for key in index-url extra-index-url trusted-host proxy; do
    name=PIP_$(tr 'a-z-' 'A-Z_' <<< "$key")
    value=${!name:-$(pip_setting "$key")}
    [[ -z $value ]] || network+=("$name=$value")
  done
  certificates=${PIP_CERT:-$(pip_setting cert)}
  certificates=${certificates:-${REQUESTS_CA_BUNDLE:-${SSL_CERT_FILE:-}}}
  [[ -f $certificates ]] || certificates=""
  [[ -z $certificates ]] || network+=("PIP_CERT=/etc/ssl/host-certificates.pem")
}
find_network
apt_settings=$(apt-config dump --no-empty 2> /dev/null | grep -iE '^Acquire::(https?::Proxy|Check-)')
mirror=${FRESH_MIRROR:-$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 2> /dev/null |
  awk -v suite=$suite '$2 == suite {print $1; exit}')}
mirror=${mirror:-http://deb.debian.org/debian}

started=$SECONDS
echo "== fresh: Debian 12 ($suite) of $mirror, commit $commit, passes: $passes; steps: $steps"
[[ -z $(git -C "$source" status --porcelain 2> /dev/null) ]] || echo "note: changes that are not committed are not in it"
[[ $passes == *cuda* || -n $toolkit ]] || echo "note: no pass with CUDA: this host has no toolkit in a folder of its own"
{
  echo "handed on for the network: the name servers"
  printf '%s\n' "${network[@]}" "${certificates:+(a copy of $certificates)}" "$apt_settings"
} | sed -E '/^$/d; s#//[^/@]*@#//***@#; 2,$s/^/  /'

if [[ ! -d $dir/base ]]; then
  echo "== making the minimal Debian"
  rm -rf "$dir/base.part"
  before=$SECONDS
  run debootstrap --variant=minbase --include=$at_first "$suite" "$dir/base.part" "$mirror" > "$logs/debootstrap.log" 2>&1
  status=$?
  ((status == 0)) || tail -5 "$logs/debootstrap.log"
  report "minimal Debian" $status $((SECONDS - before)) "besides it: ${at_first//,/ }"
  ((status == 0)) || fail 3 "debootstrap failed; its messages are in $logs/debootstrap.log; check the network, or name another FRESH_MIRROR."
  mv "$dir/base.part" "$dir/base"
fi
mkdir -p "$dir/ccache"
rm -rf "$dir/ccache"/*

environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "TERM=${TERM:-dumb}" LANG=C.UTF-8 "${network[@]}")

# enter PASS COMMAND...
enter() {
  local where=$dir/$1 mounted=""
  [[ $1 == cpu ]] || mounted=$toolkit
  shift
  # Signals that this script's background ignores are a terminal's again.
  run "$BASH" "$source/scripts/fresh.sh" --inside "$where" "$dir/ccache" "$mounted" \
    /usr/bin/env -i --default-signal=INT,QUIT -C "/$clone" "${environment[@]}" "$@"
}

installed() { # installed PASS: names of its packages
  chroot "$dir/$1" dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2> /dev/null | awk '$2 == "installed" {print $1}' | sort -u
}

for pass in $passes; do
  echo "== $pass: a copy of the minimal Debian, with a clean clone in /$clone"
  [[ $pass == cpu ]] || echo "$toolkit is there as /usr/local/cuda, read-only"
  rm -rf "${dir:?}/$pass"
  cp -a "$dir/base" "$dir/$pass" && git clone --quiet --no-hardlinks "file://$source" "$dir/$pass/$clone" &&
    chown -R 0:0 "$dir/$pass/$clone" && cp -L /etc/resolv.conf "$dir/$pass/etc/resolv.conf" &&
    echo "127.0.0.1 localhost" > "$dir/$pass/etc/hosts" || fail 3 "$dir/$pass could not be filled; see above."
  [[ -z $certificates ]] || cp -L "$certificates" "$dir/$pass/etc/ssl/host-certificates.pem"
  [[ -z $apt_settings ]] || echo "$apt_settings" > "$dir/$pass/etc/apt/apt.conf.d/99fresh"
  enter "$pass" bash -c 'missing=(); for tool in cmake ninja g++ clang llvm-symbolizer ccache pkg-config python3 nvcc; do
    type -P "$tool" > /dev/null || missing+=("$tool"); done; echo "missing at the start: ${missing[*]}; there: $(dpkg-query -W | wc -l) packages"'
  status=0
  for step in $steps; do
    if ((status != 0)); then
      results+=("$(printf '%-18s not run' "$pass $step")")
      continue
    fi
    echo "== $pass: make $step YES=1"
    installed "$pass" > "$logs/before"
    before=$SECONDS
    exec 5> >(tee "$logs/$pass-$step.log")
    tee=$!
    enter "$pass" make "$step" YES=1 >&5 2>&1
    status=$?
    exec 5>&-
    wait "$tee"
    seconds=$((SECONDS - before))
    installed "$pass" | comm -13 "$logs/before" - > "$logs/new"
    asked=$(awk '!/^#/ && NF {print $1}' "$dir/$pass/$clone/scripts/packages.txt" | sort | comm -12 - "$logs/new")
    remark="set-up installed $(wc -l < "$logs/new") packages"
    [[ ! -s $logs/new ]] || echo "$remark: $(wc -w <<< "$asked") of scripts/packages.txt (${asked//$'\n'/ }), the others came with them"
    tests=$(grep -aE '^[0-9]+% tests passed' "$logs/$pass-$step.log" | tail -1)
    report "$pass $step" "$status" "$seconds" "${tests:+$tests; }$remark$( ((status == 0)) || echo "; exit status $status, $logs/$pass-$step.log")"
  done
  [[ ${FRESH_KEEP:-} == 1 ]] || rm -rf "${dir:?}/$pass"
done
rm -f "$logs/before" "$logs/new"

echo
echo "== fresh: commit $commit in Debian 12, $((SECONDS - started)) s in all (one compiler cache for all passes, empty at the start)"
printf '%s\n' "${results[@]}"
exit $failed
