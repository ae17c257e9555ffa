#!/bin/sh
# Slurm's TaskProlog: tells the job its session. Runs as the job's user before its script and
# before each of its steps; `export` lines that it prints are the task's environment.
. "${QPU_SLURM_ENV:-/etc/qpu-executor/slurm.env}" || exit 0
file=$QPU_SESSIONS/$SLURM_JOB_ID.${SLURMD_NODENAME:-node}
if read -r session 2>/dev/null < "$file"; then
    echo "export QPU_MANAGER=$QPU_MANAGER"
    echo "export QPU_SESSION=$session"
fi
exit 0
