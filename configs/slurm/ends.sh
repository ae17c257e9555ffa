#!/bin/sh
# Tells the manager when the allocations of this node's jobs end now: no script of Slurm's is run
# for `scontrol update TimeLimit=`. Run it as root on each node, once a minute or so (a timer, cron).
. "${QPU_SLURM_ENV:-/etc/qpu-executor/slurm.env}" || exit 0
export QPU_MANAGER QPU_TOKEN_FILE
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin
SLURM_CLUSTER_NAME=$(scontrol show config 2>/dev/null | sed -n 's/^ClusterName *= *//p')
export SLURM_CLUSTER_NAME

for file in "$QPU_SESSIONS"/*; do
    job_id=${file##*/}
    job_id=${job_id%%.*}
    case $job_id in '' | *[!0-9]*) continue ;; esac
    # Columns that hold no text of the user's.
    set -- $(squeue -h -t all -j "$job_id" \
        -O 'JobID:20,State:20,EndTime:40,RestartCnt:20,HetJobID:20,UserName:100,UserID:20' \
        2>/dev/null | awk -v id="$job_id" '$1 == id && $2 == "RUNNING" { print; exit }')
    case $3 in [0-9]*) ;; *) continue ;; esac
    case $5 in *[!0-9]*) het= ;; *) het=$5 ;; esac
    # A session that its user has closed stays closed.
    read -r session < "$file" && timeout 60 "$QPU" session heartbeat "$session" > /dev/null 2>&1 \
        || continue
    if ! said=$(SLURM_JOB_ID=$job_id SLURM_RESTART_COUNT=$4 SLURM_HET_JOB_ID=$het \
        timeout 60 "$QPU" session open --slurm --user "$6" --uid "$7" --ends-at "$3" 2>&1); then
        logger -t qpu-ends "job $job_id: its end isn't known to the manager: $said" 2>/dev/null
    fi
done
exit 0
