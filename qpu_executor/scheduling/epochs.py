"""Calibration epochs: what a task needs of one, and whether it can ever have it. Pure.

Asked at admission: a task that starts anew (or fails) at every recalibration and
can't end between two of them would never end.
"""

from __future__ import annotations

import math

from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.timing import Instant, Timing, seconds_between
from qpu_executor.model.values import QpuSpec


def epoch_need_s(shots: int, shot_s: float, *, chunk_s: float, qpu: QpuSpec) -> float:
    """Seconds that a task's shots take on a QPU that has nothing else to do.

    `shot_s`: planned seconds a shot, safety factor included; `chunk_s`: its class's.
    """
    a_chunk = max(1, round(chunk_s / shot_s), qpu.min_chunk_shots)
    if qpu.max_chunk_shots is not None:
        a_chunk = min(a_chunk, qpu.max_chunk_shots)
    chunks = math.ceil(shots / max(1, a_chunk))
    overhead_s = qpu.switch_s + qpu.layout_s + chunks * qpu.setup_s
    return overhead_s + shots * shot_s


def session_refusal(
    ends_at: Instant, now: Instant, shots: int, shot_s: float, *, chunk_s: float, qpu: QpuSpec
) -> str | None:
    """Why a task can't end on a QPU before its session's allocation does; None if it can.

    `shot_s`: planned seconds a shot, safety factor included. The QPU is assumed to be idle.
    """
    needs_s = epoch_need_s(shots, shot_s, chunk_s=chunk_s, qpu=qpu)
    left_s = seconds_between(now, ends_at)
    if needs_s <= left_s:
        return None
    return (
        f"{shots} shots need {needs_s:.0f} s on {qpu.name} even alone, "
        f"the session's allocation ends in {max(left_s, 0.0):.0f} s"
    )


def timing_refusal(
    timing: Timing, shots: int, shot_s: float, *, divisible: bool, chunk_s: float, qpu: QpuSpec
) -> str | None:
    """Why a QPU could never run a task with these wishes, with the numbers; None if it could.

    `shot_s`: planned seconds a shot, safety factor included. Asked of each QPU that
    the task may run on; it is refused if none is left.
    """
    plan = qpu.calibration
    period_s = None if plan is None else plan.period_s
    needs_s = epoch_need_s(shots, shot_s, chunk_s=chunk_s, qpu=qpu)
    wishes_one_epoch = timing.on_recalibration is not OnRecalibration.CONTINUE
    if period_s is not None and needs_s > period_s and (wishes_one_epoch or not divisible):
        why = f"on_recalibration: {timing.on_recalibration}" if divisible else "can't be divided"
        return (
            f"{shots} shots ({why}) need {needs_s:.0f} s between two calibrations, "
            f"{qpu.name} is calibrated every {period_s:.0f} s"
        )
    age_s = timing.max_calibration_age_s
    if age_s is not None and plan is None:
        return f"max_calibration_age_s: {qpu.name} has no calibration plan"
    least_s = epoch_need_s(
        qpu.min_chunk_shots if divisible else shots, shot_s, chunk_s=chunk_s, qpu=qpu
    )
    if age_s is not None and least_s > age_s:
        return (
            f"max_calibration_age_s: {age_s:.0f} s is shorter than {qpu.name}'s "
            f"shortest chunk of this program, {least_s:.0f} s"
        )
    limit_s = timing.time_limit_s
    if limit_s is not None and needs_s > limit_s:
        return (
            f"time_limit_s: {shots} shots need {needs_s:.0f} s on {qpu.name} even alone, "
            f"the limit is {limit_s:.0f} s"
        )
    return None
