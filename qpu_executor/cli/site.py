"""Verbs about the site: info."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.info_text import class_table, device_text, qpu_table, qpu_text
from qpu_executor.client import Client
from qpu_executor.errors import ConfigError


def info(
    name: Annotated[str | None, typer.Argument(help="One QPU only, in full.")] = None,
    device: Annotated[
        bool,
        typer.Option(
            "--device", help="Its Pulser device: JSON into a file, its limits on a terminal."
        ),
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
            _print_device(client, str(name), as_json)
        elif classes:
            found = client.classes()
            if as_json:
                print(json.dumps([one.model_dump(mode="json") for one in found]))
            else:
                print(class_table(found))
        else:
            _print_qpus(client, name, as_json)


# -- below: no verbs ------------------------------------------------------------


def _print_qpus(client: Client, name: str | None, as_json: bool) -> None:
    qpus = client.qpus() if name is None else [client.qpu(name)]
    if as_json:
        shown = [qpu.model_dump(mode="json", exclude={"pulser_device"}) for qpu in qpus]
        print(json.dumps(shown))
    elif name is None:
        print(qpu_table(qpus, managers_now(client)))
    else:
        print(qpu_text(qpus[0], client.classes(), managers_now(client)))


def _print_device(client: Client, name: str, as_json: bool) -> None:
    found = client.qpu(name).pulser_device
    if found is None:
        raise ConfigError(f"QPU {name} has no Pulser device")
    if as_json or not sys.stdout.isatty():
        print(found)
    else:
        print(device_text(json.loads(found)))
        print(f"\nall of it: qpu info {name} --device > device.json")
