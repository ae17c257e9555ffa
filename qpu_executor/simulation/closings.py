"""When the QPUs of a recording took nothing, and why: outages and calibrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.simulation.recording import Effect, Outage, RecordedCalibration

_SAME_MOMENT = MICROSECONDS
"""A QPU's state and the end of its chunk are told one after the other."""


@dataclass(slots=True)
class _Calibration:
    """One that was told, began, ended; in that order as far as it went."""

    told_at: Instant | None = None
    due_at: Instant | None = None
    began_at: Instant | None = None
    ended_at: Instant | None = None
    epoch: str | None = None
    quality: float | None = None


@dataclass(slots=True)
class _Machine:
    """One QPU. `outages`: (begin, end, reason, effect). `began_down_until`: when it was first
    said to be open, if nobody had said before that it was not.
    """

    seen: bool = False
    began_down_until: Instant | None = None
    down_since: Instant | None = None
    why: str = ""
    effect: Effect = Effect.WAITS
    outages: list[tuple[Instant, Instant, str, Effect]] = field(default_factory=list)
    coming: _Calibration = field(default_factory=_Calibration)
    calibrations: list[_Calibration] = field(default_factory=list)


class Closings:
    """Takes what a journal says of QPUs, in its order."""

    def __init__(self) -> None:
        self._machines: dict[str, _Machine] = {}

    def reported(self, qpu: str, reason: str, at: Instant, *, is_open: bool) -> None:
        """A QPU said that it takes chunks, or that it doesn't."""
        machine = self._machine(qpu)
        if is_open and not machine.seen:
            machine.began_down_until = at
        machine.seen = True
        if not is_open and machine.down_since is None:
            machine.down_since, machine.why, machine.effect = at, reason, Effect.WAITS
        elif is_open and machine.down_since is not None:
            machine.outages.append((machine.down_since, at, machine.why, machine.effect))
            machine.down_since = None

    def chunk_started(self, qpu: str, at: Instant) -> None:
        """A chunk runs, so the QPU is open: a manager that was restarted doesn't say so."""
        machine = self._machine(qpu)
        machine.seen = True
        if machine.down_since is not None:
            self.reported(qpu, "", at, is_open=True)
        if machine.coming.began_at is not None:
            self.calibration("CalibrationEnded", {"qpu": qpu}, at)

    def chunk_ended(self, qpu: str, effect: Effect, at: Instant) -> None:
        """A chunk ended: what happens at the moment of an outage is its effect."""
        machine = self._machine(qpu)
        if machine.down_since is not None and at - machine.down_since <= _SAME_MOMENT:
            machine.effect = effect

    def calibration(self, kind: str, data: Mapping[str, Any], at: Instant) -> None:
        """One of the events about calibrations."""
        machine = self._machine(str(data["qpu"]))
        coming = machine.coming
        if kind == "CalibrationDue":
            coming.told_at, coming.due_at = at, data.get("due_at")
        elif kind == "CalibrationStarted":
            coming.began_at = at
        elif kind == "CalibrationEnded" and coming.began_at is not None:
            coming.ended_at = at
            coming.epoch, coming.quality = data.get("epoch"), data.get("quality")
            machine.calibrations.append(coming)
            machine.coming = _Calibration()

    def found(self, start: Instant, end: Instant) -> tuple[list[Outage], list[RecordedCalibration]]:
        """Everything, by its begin. What still lasts when the recording ends, ends then."""
        outages, calibrations = list[Outage](), list[RecordedCalibration]()
        for qpu, machine in self._machines.items():
            if machine.down_since is not None:
                machine.outages.append((machine.down_since, end, machine.why, machine.effect))
                machine.down_since = None
            if machine.began_down_until is not None:
                begins = (start, machine.began_down_until, "closed at first", Effect.WAITS)
                machine.outages.insert(0, begins)
                machine.began_down_until = None
            outages += [
                Outage(qpu, _s(start, begin), _s(begin, until), reason or "closed", effect)
                for begin, until, reason, effect in machine.outages
                if until > begin
            ]
            calibrations += _of(qpu, machine, start, end)
        outages.sort(key=lambda one: one.begins_s)
        calibrations.sort(key=lambda one: one.begins_s)
        return outages, calibrations

    def _machine(self, qpu: str) -> _Machine:
        return self._machines.setdefault(qpu, _Machine())


def _of(qpu: str, machine: _Machine, start: Instant, end: Instant) -> Iterator[RecordedCalibration]:
    """Those of one QPU. One that was only told, or that still lasts, takes the mean."""
    lengths = [_s(one.began_at or 0, one.ended_at or 0) for one in machine.calibrations]
    mean_s = sum(lengths) / len(lengths) if lengths else 0.0
    last = machine.coming
    if last.told_at is not None or last.began_at is not None:
        if last.began_at is None:
            last.began_at = max(end, last.due_at or end)
        length_s = mean_s or _s(last.began_at, end)
        last.ended_at = last.began_at + round(max(0.0, length_s) * MICROSECONDS)
        machine.calibrations.append(last)
        machine.coming = _Calibration()
    for one in machine.calibrations:
        assert one.began_at is not None
        assert one.ended_at is not None
        yield RecordedCalibration(
            qpu,
            _s(start, one.began_at),
            _s(one.began_at, one.ended_at),
            told_s=None if one.told_at is None else _s(start, one.told_at),
            due_s=None if one.due_at is None else _s(start, one.due_at),
            epoch=one.epoch,
            quality=one.quality,
        )


def _s(start: Instant, end: Instant) -> float:
    return (end - start) / MICROSECONDS
