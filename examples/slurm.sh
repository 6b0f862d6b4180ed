#!/usr/bin/env bash
# A sweep on all nodes of a Slurm job: Ray is started in the job, used, and ended.
#
#   sbatch --nodes 4 examples/slurm.sh launch --data /shared/logs --trials 200
#   sbatch examples/slurm.sh resume logs-1
#
# Arguments are those of lstm-sweep; `--on ray` is added. The folder in which it is submitted, and
# LSTM_SWEEP_VENV, must be visible from all nodes. Runs are kept where mlflow.yaml in that folder
# says, or else in its mlflow.db, which all nodes may read and write if locks work on its file
# system. On GPUs add `--gpus-per-node N`.

#SBATCH --job-name=lstm-sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
# three minutes before the time is over, the sweep is ended in order, so that `resume` goes on
#SBATCH --signal=B:TERM@180

set -euo pipefail

: "${SLURM_JOB_ID:?expected a Slurm job: sbatch $0 launch ...}"
[ $# -gt 0 ] || { echo "expected arguments of lstm-sweep, such as: launch --data logs" >&2; exit 2; }

# shellcheck disable=SC1091
source "${LSTM_SWEEP_VENV:-.venv}/bin/activate"

# srun takes no number of CPUs from sbatch since Slurm 22.05; Ray would count those of the whole host
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# a token of this job, which other users of the nodes do not know
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
# a folder that no other user of a node can have made before, or look into: Ray's own are open to all;
# logs stay in it, and the path of a socket must be short
RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID-$(python3 -c 'import secrets; print(secrets.token_hex(6))')
export RAY_TMPDIR
# ports that no other job on the same node has
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS="${SLURMD_NODENAME:?}:$port"

# shellcheck disable=SC2016 # the shell of each node expands it
start=(bash -c 'mkdir -m 700 "$RAY_TMPDIR" && exec ray start "$@"' start)
node=(--block --disable-usage-stats --num-cpus="$SRUN_CPUS_PER_TASK"
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0)
steps=()

trap 'kill "${steps[@]}" 2> /dev/null || true; wait' EXIT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
    "${start[@]}" --head --port="$port" --include-dashboard=false "${node[@]}" &
steps+=($!)
for _ in {1..60}; do
    if ray status --address "$RAY_ADDRESS" > /dev/null 2>&1; then break; fi
    kill -0 "${steps[0]}" || { echo "Ray's head has not started" >&2; exit 1; }
    sleep 2
done
others=$((${SLURM_JOB_NUM_NODES:-1} - 1))
if [ "$others" -gt 0 ]; then
    srun --overlap --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" \
        "${start[@]}" --address="$RAY_ADDRESS" "${node[@]}" &
    steps+=($!)
fi

command=$1
shift
driver='' ends=''
trap 'ends=yes; [ -z "$driver" ] || kill -TERM "$driver"' TERM INT
# of the three minutes between both signals
LSTM_SWEEP_STOP_WITHIN_S=120 lstm-sweep "$command" --on ray "$@" &
driver=$!
[ -z "$ends" ] || kill -TERM "$driver"
code=0
wait "$driver" || code=$?
# a signal ends `wait` before the driver has ended
while kill -0 "$driver" 2> /dev/null; do
    code=0
    wait "$driver" || code=$?
done
exit "$code"
