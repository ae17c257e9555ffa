"""Does a QPU have what a task wants of it? Asked at admission, of each candidate. Pure.

Whether the program itself can run is the business of the device's rules
(`programs/device_rules.py`); this is what its user asks for on top of that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.fleet import Qpu
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.needs import QpuNeeds
from qpu_executor.nearest import did_you_mean

NANOSECONDS = 1e9

Rates = Callable[[str], float | None]
"""Shots a second of a QPU, by its name: measured, else as it says, else None."""


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What a Pulser device says of itself. `qubits`, `sequence_s` None: it sets no limit."""

    qubits: int | None
    dimensions: int
    channels: tuple[str, ...]
    sequence_s: float | None


@lru_cache(maxsize=64)
def device_limits(pulser_device: str) -> DeviceLimits:
    """The limits in a device's abstract representation (JSON)."""
    found = json.loads(pulser_device)
    longest_ns = found.get("max_sequence_duration")
    channels = [*found.get("channels", ()), *found.get("dmm_objects", ())]
    return DeviceLimits(
        qubits=found.get("max_atom_num"),
        dimensions=int(found.get("dimensions", 2)),
        channels=tuple(str(one["id"]) for one in channels),
        sequence_s=None if longest_ns is None else longest_ns / NANOSECONDS,
    )


def that_meet(wishes: Wishes, candidates: list[Qpu], rate_hz: Rates) -> list[Qpu]:
    """The QPUs that are the device and have what a task requires.

    Raises RequestRefused where none of them is, with what each one lacks.
    """
    found = candidates
    if wishes.device is not None:
        found = [qpu for qpu in found if qpu.description.device_name == wishes.device]
        if candidates and not found:
            raise _no_such_device(wishes.device, candidates)
    if wishes.require is None:
        return found
    needs = wishes.require
    by_rate = needs.min_shot_rate_hz is not None
    missing = {qpu.name: unmet(needs, qpu, rate_hz(qpu.name) if by_rate else None) for qpu in found}
    if found and all(missing.values()):
        each = " | ".join(f"{name}: {'; '.join(why)}" for name, why in missing.items())
        raise RequestRefused(
            f"no QPU has what the task requires: {each}",
            where="require",
            next_step="require less, or use another class; see `qpu info` for the devices",
        )
    return [qpu for qpu in found if not missing[qpu.name]]


def unmet(needs: QpuNeeds, qpu: Qpu, rate_hz: float | None) -> list[str]:
    """What of these needs a QPU doesn't meet, each in words with both numbers.

    `rate_hz`: its shots a second, None: unknown.
    """
    return [*_unmet_by_device(needs, qpu), *_unmet_by_qpu(needs, qpu, rate_hz)]


def _unmet_by_qpu(needs: QpuNeeds, qpu: Qpu, rate_hz: float | None) -> Iterable[str]:
    emulated = qpu.capabilities.emulated
    if needs.emulated is not None and needs.emulated is not emulated:
        yield "it is an emulator" if emulated else "it is no emulator"
    least_hz = needs.min_shot_rate_hz
    if least_hz is not None and rate_hz is None:
        yield f"its shot rate is unknown, {least_hz:g} a second are required"
    elif least_hz is not None and rate_hz is not None and rate_hz < least_hz:
        yield f"it takes {rate_hz:.3g} shots a second, {least_hz:g} are required"


def _unmet_by_device(needs: QpuNeeds, qpu: Qpu) -> Iterable[str]:
    of_device = (needs.min_qubits, needs.dimensions, needs.min_sequence_s)
    if of_device == (None, None, None) and not needs.channels:
        return
    text = qpu.description.pulser_device
    if text is None:
        yield "it doesn't describe its device"
        return
    has = device_limits(text)
    if needs.min_qubits is not None and has.qubits is not None and has.qubits < needs.min_qubits:
        yield f"it has {has.qubits} qubits, {needs.min_qubits} are required"
    if needs.dimensions is not None and has.dimensions < needs.dimensions:
        yield f"it has {has.dimensions} dimensions, {needs.dimensions} are required"
    for channel in needs.channels:
        if channel not in has.channels:
            yield f"it has no channel {channel} (it has {', '.join(has.channels)})"
    least_s, most_s = needs.min_sequence_s, has.sequence_s
    if least_s is not None and most_s is not None and most_s < least_s:
        yield f"its sequences end after {most_s:g} s, {least_s:g} s are required"


def _no_such_device(device: str, candidates: list[Qpu]) -> RequestRefused:
    known = list(dict.fromkeys(qpu.description.device_name for qpu in candidates))
    return RequestRefused(
        f"no QPU that the task may use is a {device!r}{did_you_mean(device, known)}",
        where="device",
        expected=f"one of {', '.join(known)}",
        next_step="see `qpu info`",
    )
