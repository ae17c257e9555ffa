#!/bin/sh
# Slurm's Epilog: closes the job's session. Runs as root on every node, however the job ended
# (also when it is cancelled, or requeued). It never fails, for the reason that prolog.sh gives:
# a session that isn't closed here ends with the job's allocation.
. "${QPU_SLURM_ENV:-/etc/qpu-executor/slurm.env}" || exit 0
export QPU_MANAGER QPU_TOKEN_FILE
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin

file=$QPU_SESSIONS/$SLURM_JOB_ID.${SLURMD_NODENAME:-node}
[ -e "$file" ] || exit 0
read -r session < "$file"
if ! said=$(timeout 60 "$QPU" session close "$session" \
    ${QPU_AT_THE_END:+--tasks "$QPU_AT_THE_END"} 2>&1); then
    logger -t qpu-epilog "job $SLURM_JOB_ID: session $session isn't closed: $said" 2>/dev/null
fi
rm -f "$file"
exit 0
