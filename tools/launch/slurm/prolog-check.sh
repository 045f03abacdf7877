#!/bin/bash
# Is this node fit to train? A line for each check, `ok` or `FAIL`; exit 1 when one failed. Takes a second or two.
#
#   prolog-check.sh [FOLDER]      FOLDER: where the run writes (default: the working folder)
#
# train.sbatch runs it on each node before the ranks start. As Slurm's own Prolog (slurm.conf) a failure also drains the node
# and requeues the job elsewhere. Limits, as variables:
#   CHECK_GPUS      GPUs that must answer (default: what Slurm gave the job on this node, else none)
#   CHECK_FREE_GB   free space in FOLDER (default: 100)
#   CHECK_SHM_GB    size of /dev/shm, through which NCCL's ranks of a node talk (default: 1; unchecked without GPUs)
#   CHECK_CLOCK_S   how far this clock may be from that of the storage (default: 5)
#   CHECK_FILES     open files (default: 4096)
set -uo pipefail

folder=${1:-.} failed=0
ok() { echo "$(hostname -s): ok   $*"; }
fail() { echo "$(hostname -s): FAIL $*"; failed=1; }

check_gpus() {
  local wanted=${CHECK_GPUS:-${SLURM_GPUS_ON_NODE:-0}} seen bad
  if [ "$wanted" = 0 ]; then ok "gpus: none wanted"; return; fi
  if ! command -v nvidia-smi >/dev/null; then fail "gpus: $wanted wanted, there is no nvidia-smi"; return; fi
  # A GPU that fell off the bus makes nvidia-smi hang as often as fail.
  if ! seen=$(timeout 30 nvidia-smi --query-gpu=index,ecc.errors.uncorrected.volatile.total --format=csv,noheader,nounits 2>&1); then
    fail "gpus: nvidia-smi says: ${seen%%$'\n'*}"
    return
  fi
  if [ "$(grep -c . <<<"$seen")" -lt "$wanted" ]; then
    fail "gpus: $wanted wanted, $(grep -c . <<<"$seen") answer"
    return
  fi
  bad=$(awk -F', *' '$2 ~ /^[0-9]+$/ && $2 > 0 {printf " GPU %s: %s;", $1, $2}' <<<"$seen") # "[N/A]" where there is no ECC
  if [ -n "$bad" ]; then fail "gpus: uncorrected memory errors since the driver started:$bad reset or replace"; return; fi
  ok "gpus: $(grep -c . <<<"$seen"), no uncorrected memory errors"
}

gigabytes_free() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 {print int($4 / 1000000)}'; }

check_space() {
  local wanted=${CHECK_FREE_GB:-100} free
  free=$(gigabytes_free "$folder")
  if [ "${free:-0}" -lt "$wanted" ]; then fail "space: ${free:-0} GB free in $folder, $wanted wanted"; else ok "space: $free GB free in $folder"; fi
}

# Writes a file and compares its time, which the storage gives, with this node's: they differ when a clock is wrong.
check_folder_and_clock() {
  local probe limit=${CHECK_CLOCK_S:-5} apart
  if ! probe=$(mktemp "$folder/.check-XXXXXX" 2>/dev/null); then fail "folder: $folder cannot be written"; return; fi
  ok "folder: $folder can be written"
  apart=$(($(date +%s) - $(stat -c %Y "$probe")))
  rm -f "$probe"
  if [ "${apart#-}" -gt "$limit" ]; then fail "clock: ${apart#-} s away from that of $folder"; else ok "clock: ${apart#-} s away from that of $folder"; fi
}

check_limits() {
  local wanted=${CHECK_FILES:-4096} files locked
  files=$(ulimit -n)
  if [ "$files" != unlimited ] && [ "$files" -lt "$wanted" ]; then fail "open files: $files, $wanted wanted (ulimit -n)"; else ok "open files: $files"; fi
  locked=$(ulimit -l)
  # InfiniBand pins the buffers of every connection.
  if [ -e /dev/infiniband ] && [ "$locked" != unlimited ]; then fail "locked memory: $locked kB, InfiniBand needs unlimited (ulimit -l)"; else ok "locked memory: $locked"; fi
}

check_shared_memory() {
  local wanted=${CHECK_SHM_GB:-1} free
  [ "${CHECK_GPUS:-${SLURM_GPUS_ON_NODE:-0}}" != 0 ] || return 0
  free=$(gigabytes_free /dev/shm)
  if [ "${free:-0}" -lt "$wanted" ]; then fail "shared memory: ${free:-0} GB free in /dev/shm, $wanted wanted"; else ok "shared memory: $free GB free in /dev/shm"; fi
}

check_gpus
check_space
check_folder_and_clock
check_limits
check_shared_memory
exit $failed
