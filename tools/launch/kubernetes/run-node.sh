#!/bin/bash
# Starts the ranks of one machine of several, where no launcher does: in a pod, a rank for each GPU. Ends with one exit code.
#
#   run-node.sh NODES NODE RANKS FILE [arguments of conclave run]
#
# NODES machines with RANKS ranks each, of which this is number NODE, from 0. Variables:
#   MASTER_ADDR, MASTER_PORT   where rank 0, on machine 0, can be reached
#   LAUNCH_ID                  the same on all machines, another one for another run
#   RUN_DIR                    the run directory, which every machine sees; the run goes on from what is there
#   CONCLAVE                   the program (default: the tools/conclave of this checkout)
#   RETRY_CODE                 to end with this instead of 3, 75 and 76, for a scheduler that has its own idea of what to retry
#   GRACE                      seconds that the others have to end by themselves after a rank ended badly (default: 180)
#
# The exit code: the first of 1 to 5 that a rank ended with; else 76 when one ended with it or was killed; else 75 when one did.
set -uo pipefail
[ $# -ge 4 ] || { echo "usage: run-node.sh NODES NODE RANKS FILE [arguments of conclave run]" >&2; exit 2; }
nodes=$1 node=$2 ranks=$3
shift 3
conclave=${CONCLAVE:-$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../conclave}
: "${MASTER_ADDR:?}" "${MASTER_PORT:?}" "${LAUNCH_ID:?}" "${RUN_DIR:?}"

# --resume on all machines from the first start on: whether there is something to go on from, rank 0 alone finds out.
mkdir -p "$RUN_DIR" || exit 5
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((n = $(nproc) / ranks) > 0 ? n : 1))}
# What torchrun tells its ranks, with rank 0 as the host of the store. Unlike torchrun this does not hide their exit codes.
export WORLD_SIZE=$((nodes * ranks)) LOCAL_WORLD_SIZE=$ranks
export TORCHELASTIC_RUN_ID=$LAUNCH_ID TORCHELASTIC_USE_AGENT_STORE=False
declare -A left=() # process numbers of ranks that have not ended
# A pod that has to go gets SIGTERM: the ranks save and end with 75.
trap 'kill -TERM "${!left[@]}" 2>/dev/null' TERM
trap 'kill -USR1 "${!left[@]}" 2>/dev/null' USR1
for ((i = 0; i < ranks; ++i)); do
  RANK=$((node * ranks + i)) LOCAL_RANK=$i "$conclave" run "$@" --run-dir "$RUN_DIR" --resume &
  left[$!]=$i
done

result=0 deadline=
worse() { # CODE: does it say more than what is known?
  case $result in [1-5]) return 1 ;; 76) [ "$1" -lt 6 ] ;; 75) [ "$1" != 75 ] ;; *) true ;; esac
}
ended() { # PROCESS CODE
  local rank=$((node * ranks + left[$1])) code=$2
  unset "left[$1]"
  case $code in
    0) return ;;
    [1-5] | 75 | 76) ;;
    *) echo "run-node.sh: rank $rank ended with $code$([ "$code" -lt 129 ] || echo " (signal $((code - 128)))")" >&2; code=76 ;;
  esac
  if worse "$code"; then result=$code; fi
  [ "$code" = 75 ] || deadline=${deadline:-$((SECONDS + ${GRACE:-180}))}
}
# Looks, and does not `wait -n`: that forgets a process whose death by a signal the shell has already told.
while [ ${#left[@]} != 0 ]; do
  sleep 0.2 & wait $! # a signal ends this wait, and its trap runs
  running=" $(jobs -pr | tr '\n' ' ')"
  for process in "${!left[@]}"; do
    case $running in *" $process "*) continue ;; esac
    wait "$process"
    ended "$process" $?
  done
  if [ -n "$deadline" ] && [ $SECONDS -ge "$deadline" ] && [ ${#left[@]} != 0 ]; then
    echo "run-node.sh: ranks that did not end by themselves are killed" >&2
    kill -KILL "${!left[@]}"
    deadline=$((SECONDS + 60))
  fi
done
case $result in 3 | 75 | 76) result=${RETRY_CODE:-$result} ;; esac
exit "$result"
