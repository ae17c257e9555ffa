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
# Not all versions of Slurm say all of this in Prolog's environment. Whose job it is hangs on it,
# so it is read from columns that hold no text of the user's (a name or a comment may look like
# a field of `scontrol show job`).
set -- $(squeue -h -t all -j "$SLURM_JOB_ID" \
    -O 'JobID:20,State:20,EndTime:40,RestartCnt:20,ArrayJobID:20,ArrayTaskID:20,HetJobID:20' \
    2>/dev/null | awk -v id="$SLURM_JOB_ID" '$1 == id && $2 != "PENDING" { print; exit }')
number() { case $1 in '' | *[!0-9]*) ;; *) echo "$1" ;; esac; }
case $3 in [0-9]*) ends=$3 ;; *) ends= ;; esac
export SLURM_RESTART_COUNT="${SLURM_RESTART_COUNT:-$(number "$4")}"
export SLURM_ARRAY_JOB_ID="${SLURM_ARRAY_JOB_ID:-$(number "$5")}"
export SLURM_ARRAY_TASK_ID="${SLURM_ARRAY_TASK_ID:-$(number "$6")}"
export SLURM_HET_JOB_ID="${SLURM_HET_JOB_ID:-$(number "$7")}"

if ! session=$(timeout 60 "$QPU" session open "job $SLURM_JOB_ID" --slurm \
    --user "$SLURM_JOB_USER" --uid "$SLURM_JOB_UID" \
    ${SLURM_JOB_ACCOUNT:+--account "$SLURM_JOB_ACCOUNT"} ${ends:+--ends-at "$ends"} 2>&1); then
    say "no session: $session"
    exit 0
fi
session=$(printf '%s\n' "$session" | tail -n 1) # whatever was warned of comes before it
mkdir -p "$QPU_SESSIONS" && chmod 711 "$QPU_SESSIONS"
file=$QPU_SESSIONS/$SLURM_JOB_ID.${SLURMD_NODENAME:-node}
# The user's to read and root's to write: Epilog closes, with root's rights, what it names.
(umask 077 && printf '%s\n' "$session" > "$file") && chgrp "$SLURM_JOB_GID" "$file" &&
    chmod 640 "$file"
exit 0
