# shellcheck shell=bash
# Shared by the scripts in this folder (sourced, not run).
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps
say() { printf '%s\n' "$*"; }
usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; exit 0; } # the comment at the top of the script
die() { printf '%s: %s\n' "tools/$(basename "$0")" "$*" >&2; exit 1; }

# Jobs for a build: one per core, but no more than memory allows (2 GiB each).
build_jobs() {
  local cores mem jobs
  cores=$(nproc)
  mem=$(awk '/^MemAvailable:/ {print int($2 / 1048576 / 2)}' /proc/meminfo)
  jobs=$((mem < cores ? mem : cores))
  echo $((jobs < 1 ? 1 : jobs))
}

# A python3 that has pip: the system's own before any other on PATH.
find_python() {
  local p
  for p in /usr/bin/python3 python3; do
    if command -v "$p" >/dev/null && "$p" -m pip --version >/dev/null 2>&1; then echo "$p"; return; fi
  done
  return 1
}

# Takes the lock NAME for the rest of this script, so that two runs in one checkout wait for each other.
take_lock() {
  mkdir -p "$deps"
  exec 9>"$deps/.lock-$1"
  flock -n 9 || { say "Waiting for another tools/$1 in this checkout."; flock 9; }
}
