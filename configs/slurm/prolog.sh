#!/bin/sh
# Slurm's Prolog: opens the job's session for its user. Runs as root on every node of the job;
# all nodes get the same session.
#
# It never fails: a nonzero Prolog drains the node, and a QPU manager that is away for a minute
# must not take nodes from jobs. A job without a session can open one by itself.
. "${QPU_SLURM_ENV:-/etc/qpu-executor/slurm.env}" || exit 0
export QPU_MANAGER QPU_TOKEN_FILE
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin
say() { logger -t qpu-prolog "job $SLURM_JOB_ID: $*" 2>/dev/null; }

# Of an array's last task, and of a heterogeneous job, Slurm shows the others as well.
job=$(scontrol -o show job "$SLURM_JOB_ID" 2>/dev/null | grep "^JobId=$SLURM_JOB_ID ")
if [ -n "$QPU_JOBS" ] && ! printf '%s\n' "$job" | grep -Eq "$QPU_JOBS"; then
    exit 0
fi
# Not all versions of Slurm say all of this in Prolog's environment.
said() { printf '%s\n' "$job" | sed -n "s/.*[ ^]$1=\\([0-9][^ ]*\\).*/\\1/p"; }
ends=$(said EndTime)
export SLURM_RESTART_COUNT="${SLURM_RESTART_COUNT:-$(said Restarts)}"
export SLURM_ARRAY_JOB_ID="${SLURM_ARRAY_JOB_ID:-$(said ArrayJobId)}"
export SLURM_ARRAY_TASK_ID="${SLURM_ARRAY_TASK_ID:-$(said ArrayTaskId)}"
export SLURM_HET_JOB_ID="${SLURM_HET_JOB_ID:-$(said HetJobId)}"

if ! session=$(timeout 60 "$QPU" session open "job $SLURM_JOB_ID" --slurm \
    --user "$SLURM_JOB_USER" --uid "$SLURM_JOB_UID" \
    ${SLURM_JOB_ACCOUNT:+--account "$SLURM_JOB_ACCOUNT"} ${ends:+--ends-at "$ends"} 2>&1); then
    say "no session: $session"
    exit 0
fi
mkdir -p "$QPU_SESSIONS" && chmod 711 "$QPU_SESSIONS"
file=$QPU_SESSIONS/$SLURM_JOB_ID.${SLURMD_NODENAME:-node}
(umask 077 && printf '%s\n' "$session" > "$file") && chown "$SLURM_JOB_UID" "$file"
exit 0
