#!/usr/bin/env bash
# Set-up steps that `make` runs: each does nothing when there is nothing to do, so all of them may be run again and again.
#   setup.sh packages build|test   installs missing Debian packages of scripts/packages.txt
#   setup.sh venv                  makes the private Python environment in the cache folder
#   setup.sh nvcc                  prints where nvcc is, nothing where there is none; looks where CMake does (cmake/SageCuda.cmake)
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SAGEPTQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sage-ptq}

fail() {
  echo "error: $*" >&2
  exit 3
}

packages() {
  local stage=$1 wanted missing=() package state answer
  case $stage in
    build) wanted=$(awk '!/^#/ && $2 == "build" {print $1}' "$scripts/packages.txt") ;;
    test) wanted=$(awk '!/^#/ && NF {print $1}' "$scripts/packages.txt") ;;
    *) fail "setup.sh packages: '$stage'; expected build or test." ;;
  esac
  if ! command -v dpkg-query > /dev/null; then
    echo "note: this system has no dpkg, so nothing is installed; the build needs what these Debian packages hold:" \
      "${wanted//$'\n'/ }" >&2
    return
  fi
  for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return; fi

  if ((EUID != 0)); then
    echo "These Debian packages are missing. Install them as root, then run the same command again:" >&2
    echo "  sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 3
  fi
  if [[ ${YES:-} != 1 ]]; then
    echo "These Debian packages are missing: ${missing[*]}"
    read -r -p "Install them now? [y/N] " answer ||
      fail "no terminal to ask on, and packages are missing; expected an answer; run the command again with YES=1 added."
    [[ $answer == [yY]* ]] || fail "packages are missing; run: apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  export DEBIAN_FRONTEND=noninteractive
  # An index that cannot be refreshed may still serve: only the installation decides.
  apt-get update -qq || true
  apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null ||
    fail "apt-get could not install ${missing[*]}; expected a Debian 12 (or newer) package source; see its messages above."
}

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "python3: none found with version 3.11 or newer and the venv module; expected Debian's python3 and python3-venv;" \
    "install them and run the command again."
}

venv() {
  local folder=$cache/venv lock=$scripts/requirements-tools.txt stamp python
  stamp=$(sha256sum "$lock" | cut -d' ' -f1)
  mkdir -p "$cache" || fail "$cache: cannot be made; expected a writable cache folder; name another one with SAGEPTQ_CACHE."
  is_complete() {
    [[ -f $folder/.requirements && $(< "$folder/.requirements") == "$stamp" ]] && "$folder/bin/python" -c 'import numpy' 2> /dev/null
  }
  if is_complete; then return; fi
  exec 9> "$cache/.venv.lock"
  flock 9
  if is_complete; then return; fi
  python=$(find_python)
  echo "installing the Python tools into $folder"
  rm -rf "$folder"
  "$python" -m venv "$folder" || fail "$folder: no virtual environment could be made with $python; see its message above."
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r "$lock" ||
    fail "the Python tools could not be installed; expected to reach the Python package index; check the network and run the" \
      "command again."
  # Written last: a set-up that was cut off starts anew.
  echo "$stamp" > "$folder/.requirements"
}

nvcc() {
  local folder
  if [[ -n ${CUDACXX:-} ]]; then
    echo "$CUDACXX"
    return
  fi
  for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}"; do
    [[ -n $folder ]] || continue
    if [[ -x $folder/bin/nvcc ]]; then
      echo "$folder/bin/nvcc"
      return
    fi
    echo "note: $folder (CUDA_HOME or CUDA_PATH) has no bin/nvcc; looking on" >&2
  done
  type -P nvcc && return
  if [[ -x /usr/local/cuda/bin/nvcc ]]; then echo /usr/local/cuda/bin/nvcc; fi
}

case ${1:-} in
  packages) packages "${2:-build}" ;;
  venv) venv ;;
  nvcc) nvcc ;;
  *) fail "setup.sh: '${1:-}'; expected packages build, packages test, venv or nvcc." ;;
esac
