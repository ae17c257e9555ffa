"""How many shots a chunk gets. Pure."""

from __future__ import annotations

from qpu_executor.model.values import QpuSpec


def chunk_shots(
    remaining: int,
    *,
    divisible: bool,
    chunk_s: float,
    rate_hz: float | None,
    qpu: QpuSpec,
    fits: int | None = None,
    judged: int | None = None,
) -> int:
    """Shots of the next chunk of a task with `remaining` > 0 shots to go.

    An indivisible task goes in one chunk. A divisible one gets what the QPU
    takes in `chunk_s` seconds at `rate_hz` (None: unknown, everything), within
    the QPU's limits. Below the QPU's minimum the minimum is sent, and what comes
    beyond the task's shots is surplus. A rest that would be below the minimum is
    avoided where the maximum allows it. `fits`: as many as may be planned before the
    next boundary (at least the minimum; None: there is none). `judged`: as many as may be
    taken before the task's stopping rule is looked at (None: it has none).
    """
    if not divisible:
        return remaining
    least = qpu.min_chunk_shots
    most = max(least, remaining if qpu.max_chunk_shots is None else qpu.max_chunk_shots)
    if fits is not None:
        most = max(least, min(most, fits))
    if judged is not None:
        most = max(least, min(most, judged))
    wanted = remaining if rate_hz is None else min(remaining, round(chunk_s * rate_hz))
    shots = min(max(wanted, least, 1), most)
    if 0 < remaining - shots < least:
        return remaining if remaining <= most else max(least, remaining - least)
    return shots


def shots_to_judgement(shots_done: int, min_shots: int) -> int:
    """Shots that a task with a stopping rule takes at most before it is judged (again).

    First those up to `min_shots`; then half as many as it has, or `min_shots` if that is
    more. So a task takes at most half again as many shots as were enough (or `min_shots`
    more), and the number of looks grows with the logarithm of its shots where chunks are
    limited by nothing else. A program in one piece is judged when it is complete.
    """
    if shots_done < min_shots:
        return min_shots - shots_done
    return max(min_shots, shots_done // 2)
