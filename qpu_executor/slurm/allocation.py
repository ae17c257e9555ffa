"""How much time the Slurm allocation has left in which this process runs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

from qpu_executor.errors import ConfigError

END_TIME = "SLURM_JOB_END_TIME"
"""Seconds since the epoch. Slurm 24.11 sets it in every job, 22.05 doesn't."""


def allocation_left_s(
    environ: Mapping[str, str] | None = None, now_s: float | None = None
) -> float | None:
    """Seconds until the allocation ends; None outside of one, or where Slurm doesn't say.

    `environ`: the process's own if None; `now_s`: seconds since the epoch, the clock's if None.
    Raises ConfigError for an allocation that is over (a shell may outlive its own).
    """
    said = (os.environ if environ is None else environ).get(END_TIME, "").strip()
    if not said:
        return None
    try:
        ends_s = float(said)
    except ValueError:
        ends_s = math.nan
    if not math.isfinite(ends_s):
        raise ConfigError(
            f"{END_TIME}={said!r} is no time",
            where="environment",
            expected="seconds since 1970, as Slurm sets it",
            next_step=f"unset {END_TIME}",
        )
    left_s = ends_s - (time.time() if now_s is None else now_s)
    if left_s <= 0:
        raise ConfigError(
            f"the Slurm allocation of this shell ended {-left_s:.0f} s ago",
            where=f"environment {END_TIME}",
            next_step=f"start in a new allocation, or unset {END_TIME}",
        )
    return left_s
