"""Which Slurm job this process runs in, and in which of its incarnations."""

from __future__ import annotations

import os
from collections.abc import Mapping

from qpu_executor.errors import ConfigError
from qpu_executor.model.sessions import SlurmJob


def this_job(environ: Mapping[str, str] | None = None) -> SlurmJob | None:
    """The job that the environment is about (the process's own if None); None outside of one.

    Works in a job's script, in its steps, and in Prolog and Epilog. A heterogeneous job is
    one job: that of its first component. Raises ConfigError for numbers that are none.
    """
    found = os.environ if environ is None else environ
    job_id = (
        _number(found, "SLURM_JOB_ID_HET_GROUP_0")
        or _number(found, "SLURM_HET_JOB_ID")
        or _number(found, "SLURM_JOB_ID")
    )
    if job_id is None:
        return None
    in_array = _number(found, "SLURM_ARRAY_TASK_ID") is not None
    return SlurmJob(
        cluster=found.get("SLURM_CLUSTER_NAME", "").strip() or "slurm",
        job_id=job_id,
        restart_count=(
            _number(found, "SLURM_RESTART_COUNT")
            or _number(found, "SLURM_JOB_RESTART_COUNT")  # what Prolog and Epilog call it
            or 0
        ),
        array_job_id=_number(found, "SLURM_ARRAY_JOB_ID") if in_array else None,
        array_task_id=_number(found, "SLURM_ARRAY_TASK_ID"),
        het_size=_number(found, "SLURM_HET_SIZE"),
    )


def _number(environ: Mapping[str, str], name: str) -> int | None:
    said = environ.get(name, "").strip()
    if not said:
        return None
    try:
        return int(said)
    except ValueError:
        raise ConfigError(
            f"{name}={said!r} is no number",
            where="environment",
            expected="a number, as Slurm sets it",
            next_step=f"unset {name}",
        ) from None
