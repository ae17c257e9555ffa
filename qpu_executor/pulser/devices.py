"""The device of a sequence against those of the manager's QPUs, as they are now.

The manager checks each program against its own device in any case. This is for the author:
before anything is sent, in the words of the device that they know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pulser.backend.remote import RemoteBackend
from pulser.devices import Device

from qpu_executor.errors import DeviceMismatch
from qpu_executor.nearest import did_you_mean
from qpu_executor.programs.device_files import differences
from qpu_executor.programs.pulser_extra import pulser_advice_silenced
from qpu_executor.programs.refusals import one_sentence

SHOWN = 6
"""Differences that are named; the others are counted."""

_REBUILD = (
    "take the device from QPUConnection.fetch_available_devices() and rebuild the sequence with it"
)


def fitted(sequence: Any, offered: Mapping[str, Any]) -> Any:
    """The sequence on a device that the manager has now: the same pulses, or an error.

    `offered`: Pulser devices by the names of their QPUs. A device is found by its own name;
    one that is exactly the sequence's is preferred to one that merely plays the same pulses.

    Raises DeviceMismatch, which names what differs.
    """
    name = sequence.device.name
    same = {qpu: device for qpu, device in offered.items() if device.name == name}
    if not same:
        raise _nobody_is(name, offered)
    if any(device == sequence.device for device in same.values()):
        return sequence
    refused: dict[str, Exception] = {}
    for qpu, device in same.items():
        try:
            with pulser_advice_silenced():
                moved = sequence.with_new_device(device, strict=True)
                RemoteBackend.validate_sequence(moved, mimic_qpu=isinstance(device, Device))
        except Exception as error:  # Pulser raises many kinds; all mean the same here
            refused[qpu] = error
        else:
            return moved
    qpu, first = next(iter(refused.items()))
    raise _changed(sequence.device, qpu, same[qpu], first) from None


def _nobody_is(name: str, offered: Mapping[str, Any]) -> DeviceMismatch:
    names = sorted({device.name for device in offered.values()})
    return DeviceMismatch(
        f"the device {name!r} of the sequence does not match any device of the manager's QPUs"
        + did_you_mean(name, names),
        rule="device",
        expected=f"one of {', '.join(names)}" if names else "a QPU that is a Pulser device",
        next_step=_REBUILD,
    )


def _changed(mine: Any, qpu: str, theirs: Any, error: Exception) -> DeviceMismatch:
    found = differences(json.loads(mine.to_abstract_repr()), json.loads(theirs.to_abstract_repr()))
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return DeviceMismatch(
        f"{mine.name} isn't what it was when the sequence was built, and the sequence doesn't "
        f"fit it any more ({one_sentence(error)}): {'; '.join(found[:SHOWN])}{more}",
        where=f"QPU {qpu}",
        rule="device_match",
        next_step=_REBUILD,
    )
