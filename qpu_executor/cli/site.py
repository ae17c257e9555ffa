"""Verbs about the site: info."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected
from qpu_executor.cli.tables import clock, table
from qpu_executor.errors import ConfigError
from qpu_executor.wire.site import JobClassOut, QpuOut


def info(
    name: Annotated[str | None, typer.Argument(help="One QPU only.")] = None,
    device: Annotated[
        bool, typer.Option("--device", help="Print its Pulser device (JSON) and nothing else.")
    ] = False,
    classes: Annotated[bool, typer.Option("--classes", help="Show the job classes.")] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the QPUs: state, device, queue (as sinfo does)."""
    if device and name is None:
        raise ConfigError("--device needs a QPU", next_step="qpu info NAME --device")
    with connected(manager) as client:
        if device:
            found = client.qpu(str(name)).pulser_device
            if found is None:
                raise ConfigError(f"QPU {name} has no Pulser device")
            print(found)
            return
        if classes:
            _print_classes(client.classes(), as_json)
            return
        qpus: list[QpuOut] = [client.qpu(name)] if name is not None else client.qpus()
    if as_json:
        shown = [qpu.model_dump(mode="json", exclude={"pulser_device"}) for qpu in qpus]
        print(json.dumps(shown))
        return
    print(_qpu_table(qpus))


def _qpu_table(qpus: list[QpuOut]) -> str:
    rows = [
        [
            qpu.name,
            qpu.state.value,
            qpu.device + (" (emulated)" if qpu.emulated else ""),
            f"{qpu.capacity.max_slots - qpu.capacity.available_slots}/{qpu.capacity.max_slots}",
            str(qpu.pending_job_count),
            "-" if qpu.shot_rate_hz is None else f"{qpu.shot_rate_hz:.3g}",
            qpu.status_reason or _kept(qpu) or "-",
        ]
        for qpu in qpus
    ]
    return table(["QPU", "STATE", "DEVICE", "BUSY", "WAITING", "SHOTS/S", "REASON"], rows)


def _kept(qpu: QpuOut) -> str:
    return "" if qpu.kept_until is None else f"kept warm until {clock(qpu.kept_until)}"


def _print_classes(classes: list[JobClassOut], as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in classes]))
        return
    rows = [
        [
            one.name + ("*" if one.default else ""),
            str(one.priority),
            f"{one.chunk_s:g}",
            "-" if one.max_shots is None else str(one.max_shots),
            one.description or "-",
        ]
        for one in classes
    ]
    print(table(["CLASS", "PRIORITY", "CHUNK_S", "MAX_SHOTS", "DESCRIPTION"], rows))
