"""Devices here against devices there: what moved since a sequence was built. Pure, but for Pulser.

A sequence carries the device that it was built for. The manager checks it against the
device as it is now; where that has moved, it is better known before a campaign than in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from qpu_executor.cli.doctor.finding import Finding, of_error, ok, one_line, warning, wrong
from qpu_executor.cli.doctor.sight import Program, Sight
from qpu_executor.cli.program_file import read_program
from qpu_executor.errors import QpuExecutorError
from qpu_executor.nearest import did_you_mean
from qpu_executor.programs.device_files import device_in, differences, read_devices
from qpu_executor.wire.site import QpuDetail

SHOWN = 4
"""Differences that are named; the others are counted."""


def read_file(path: Path) -> Program:
    """A file with a device, or with a sequence and the device in it. Raises ConfigError."""
    text = read_program(path)
    device = device_in(text, str(path))
    return Program(str(path), device, text if "operations" in json.loads(text) else None)


def readable(sight: Sight) -> Iterable[Finding]:
    """Whether the Pulser here can read the devices of the manager."""
    for qpu in sight.qpus:
        if qpu.pulser_device is None:
            continue
        try:
            read_devices({qpu.name: qpu.pulser_device})
        except QpuExecutorError as error:
            yield of_error("device", error)
        else:
            yield ok("device", f"{qpu.name}: {qpu.device} can be built for here")


def drift(program: Program, sight: Sight, qpu: str | None) -> Iterable[Finding]:
    """A file's device against the QPUs that are that device, or against `qpu`."""
    name = str(program.device["name"])
    described = [one for one in sight.qpus if one.pulser_device is not None]
    mine = [one for one in described if (one.device == name if qpu is None else one.name == qpu)]
    if not mine:
        known = list(dict.fromkeys(one.device for one in described))
        yield wrong(
            "program",
            f"{program.file} is built for {name!r}, and no QPU is one{did_you_mean(name, known)}",
            f"build it for one of {', '.join(known) or 'none'}: qpu info NAME --device",
        )
    for one in mine:
        yield _compared(program, one)
    refusal = sight.refusals.get(program.file)
    if refusal is not None:
        step = refusal.next_step or (f"give {refusal.expected}" if refusal.expected else "")
        yield wrong(
            "program",
            f"{program.file} would be refused: {one_line(refusal.detail)}",
            one_line(step) or f"qpu info {mine[0].name if mine else 'NAME'} --device",
        )
    elif mine and program.sequence is not None:
        yield ok("program", f"{program.file} would be taken")


def _compared(program: Program, qpu: QpuDetail) -> Finding:
    assert qpu.pulser_device is not None
    found = differences(program.device, json.loads(qpu.pulser_device))
    if not found:
        return ok("program", f"{program.file} has the device of {qpu.name} as it is now")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return warning(
        "program",
        f"the device of {qpu.name} isn't the one in {program.file}: "
        + "; ".join(found[:SHOWN])
        + more,
        f"qpu info {qpu.name} --device > device.json, and build the sequence for that",
    )
