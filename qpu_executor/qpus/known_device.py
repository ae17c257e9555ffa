"""The device of a service, remembered: a cloud that is away must not stop a manager's start."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from qpu_executor.errors import DeviceError
from qpu_executor.qpus.base import DeviceDescription

log = logging.getLogger(__name__)


async def known_device(
    ask: Callable[[], Awaitable[DeviceDescription]], path: Path
) -> DeviceDescription:
    """What `ask` says, or what it said last; the file is renewed with each answer.

    Raises whatever `ask` raises, but a DeviceError only where nothing was ever said.
    """
    try:
        found = await ask()
    except DeviceError as error:
        before = await asyncio.to_thread(_read, path)
        if before is None:
            raise
        log.warning("%s; its device is taken to be what it was: %s", error, before.device_name)
        return before
    await asyncio.to_thread(_write, path, found)
    return found


def _read(path: Path) -> DeviceDescription | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return DeviceDescription(str(found["name"]), found["pulser_device"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, device: DeviceDescription) -> None:
    new = path.with_name(f".{path.name}.new")
    document = {"name": device.device_name, "pulser_device": device.pulser_device}
    try:
        new.write_text(json.dumps(document), "utf-8")
        os.replace(new, path)
    except OSError as error:
        log.warning("the device can't be written down in %s: %s", path, error)
