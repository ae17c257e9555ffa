"""What adapters answer, held to their contract before anything is decided or saved on it.

Adapters are plug-ins. A count that the store can't keep, or a duration that is no number,
would end the manager in the turn that saves it, and after each restart again: the QPU is
asked anew, and answers the same. Here it costs no more than the chunk, or the QPU.

Numbers of other types (numpy's) are taken for what they are worth.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import Instant
from qpu_executor.qpus.base import (
    CalibrationStatus,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)


def sound_outcome(said: Any) -> ChunkOutcome:
    """The outcome in plain values; no duration is negative. Raises TypeError or ValueError."""
    if not isinstance(said, ChunkOutcome) or not isinstance(said.kind, OutcomeKind):
        raise TypeError(f"its outcome is {said!r}")
    return replace(
        said,
        counts={_bits(bits): _seen(bits, seen) for bits, seen in said.counts.items()},
        device_s=max(0.0, _number("device_s", said.device_s)),
        setup_s=max(0.0, _number("setup_s", said.setup_s)),
        epoch=_optional_text(said.epoch),
        message=str(said.message or ""),
        versions={str(name): str(version) for name, version in said.versions.items()},
        started_at=_instant("started_at", said.started_at),
        ended_at=_instant("ended_at", said.ended_at),
        health=None if said.health is None else sound_health(said.health),
    )


def sound_health(said: Any) -> Health:
    """The health in plain values. Raises TypeError or ValueError."""
    if not isinstance(said, Health) or not isinstance(said.state, QpuState):
        raise TypeError(f"its health is {said!r}")
    return replace(
        said,
        reason=str(said.reason or ""),
        until=_instant("until", said.until),
        calibration=None if said.calibration is None else _calibration(said.calibration),
        outdated=bool(said.outdated),
    )


def sound_description(said: Any) -> DeviceDescription:
    """The description as it is. Raises TypeError."""
    if not isinstance(said, DeviceDescription) or not isinstance(said.device_name, str):
        raise TypeError(f"it describes its device as {said!r:.200}")
    if not isinstance(said.pulser_device, str | None):
        raise TypeError(f"its Pulser device is {said.pulser_device!r:.200}")
    return said


def _calibration(said: Any) -> CalibrationStatus:
    if not isinstance(said, CalibrationStatus):
        raise TypeError(f"its calibration is {said!r}")
    return replace(
        said,
        epoch=_optional_text(said.epoch),
        since=_instant("since", said.since),
        running=bool(said.running),
        due_at=_instant("due_at", said.due_at),
        quality=None if said.quality is None else _number("quality", said.quality),
    )


def _bits(bits: Any) -> str:
    if not isinstance(bits, str):
        raise TypeError(f"{bits!r:.80} among its counts is no bitstring")
    return bits


def _seen(bits: str, said: Any) -> int:
    times = int(_number(f"count of {bits:.80}", said))
    if times != said or times < 0:
        raise ValueError(f"it counts {said!r:.80} of {bits:.80}")
    return times


def _number(what: str, said: Any) -> float:
    """Integers stay exact."""
    if isinstance(said, str) or not math.isfinite(said):  # which raises TypeError for no number
        raise ValueError(f"its {what} is {said!r:.80}")
    return said if isinstance(said, int) else float(said)


def _instant(what: str, said: Any) -> Instant | None:
    return None if said is None else round(_number(what, said))


def _optional_text(said: Any) -> str | None:
    return None if said is None else str(said)
