"""How long a shot of a task takes on a QPU, as far as anybody knows. Pure.

Shots of two programs can differ tenfold on one QPU (their sequences, their registers), so
what was measured with the task itself counts most; a QPU's own rate is the mean of
whatever ran there. Unknown is never taken for zero.
"""

from __future__ import annotations

from qpu_executor.scheduling.state import Measured, Qpu, Task

SAFETY = 1.2
"""Planned seconds for each expected one: shots of one program differ by some per cent."""

ASSUMED_SHOT_S = 4.0
"""Seconds a shot while nothing is known: neutral-atom QPUs take 0.1 to 4 s for one."""

MOST_FASTER = 20.0
"""A task is taken to be at most so many times faster than its QPU's mean: a wrong
measurement must not make a chunk that blocks the QPU."""

RATE_WEIGHT = 0.3
"""Weight of the newest measurement: about the last six chunks count."""


def measured_shot_s(before: float | None, shots: int, device_s: float) -> float | None:
    """Seconds a shot, after a chunk of `shots` took `device_s` seconds on the device.

    An exponentially weighted mean; a chunk without shots or duration says nothing.
    """
    if shots <= 0 or device_s <= 0.0:
        return before
    newest = device_s / shots
    return newest if before is None else before + RATE_WEIGHT * (newest - before)


def note_chunk(task: Task, qpu: Qpu, shots: int, device_s: float) -> None:
    """A chunk has ended: remember how fast its QPU was, and its task if that goes on."""
    if shots <= 0 or device_s <= 0.0:
        return
    qpu.shot_s = measured_shot_s(qpu.shot_s, shots, device_s)
    if task.shots_done == task.shots:
        return
    known = task.measured
    before = known.shot_s if known is not None and known.qpu == qpu.spec.name else None
    shot_s = measured_shot_s(before, shots, device_s)
    if shot_s is not None and shot_s != before:
        task.measured = Measured(qpu.spec.name, shot_s)


def own_shot_s(task: Task, qpu: Qpu) -> float | None:
    """What was measured with the task on this QPU, not much faster than the QPU's mean."""
    known = task.measured
    if known is None or known.qpu != qpu.spec.name:
        return None
    return known.shot_s if qpu.shot_s is None else max(known.shot_s, qpu.shot_s / MOST_FASTER)


def expected_shot_s(task: Task, qpu: Qpu) -> float | None:
    """Seconds a shot: measured with the task, else as it said, else the QPU's; else None."""
    own = own_shot_s(task, qpu)
    if own is not None:
        return own
    if task.shot_s is not None:
        return task.shot_s
    rate_hz = qpu.rate_hz
    return 1.0 / rate_hz if rate_hz else None


def cutting_rate_hz(task: Task, qpu: Qpu) -> float | None:
    """Shots a second for cutting the next chunk; None: unknown.

    Before the first measurement what the task said is believed only where it makes the
    chunk shorter: users don't get long chunks by promising fast shots.
    """
    own = None if task.measured is None else own_shot_s(task, qpu)
    if own is not None:
        return 1.0 / own
    rate_hz = qpu.rate_hz
    if task.shot_s is None:
        return rate_hz
    return min(1.0 / task.shot_s, rate_hz) if rate_hz else 1.0 / task.shot_s


def planned_shot_s(
    hint_s: float | None, rate_hz: float | None, own_s: float | None = None
) -> float:
    """Seconds that are planned for a shot: the slowest that is known, with the safety factor.

    `hint_s`: as the task said; `rate_hz`: the QPU's; `own_s`: measured with the task.
    """
    slowest = max(hint_s or 0.0, own_s or 0.0, 1.0 / rate_hz if rate_hz else 0.0)
    return (slowest or ASSUMED_SHOT_S) * SAFETY


def planned_on(task: Task, qpu: Qpu) -> float:
    """Seconds that are planned for a shot of a task on a QPU."""
    return planned_shot_s(task.shot_s, qpu.rate_hz, own_shot_s(task, qpu))
