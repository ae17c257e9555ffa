"""Each QPU of a site: its adapter is built, opened aside, and asked how the QPU is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qpu_executor.cli.doctor.finding import Finding, of_error, ok, one_line, warning, wrong
from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.qpus.base import DeviceDescription, Health
from qpu_executor.qpus.registry import build_adapter


def open_and_ask(name: str, kind: str, settings: Mapping[str, Any]) -> Iterable[Finding]:
    """What the adapter says of its settings, its extra, its service and its QPU."""
    step = f"put that right, or take qpus.{name} out of the site file"
    try:
        health, device = asyncio.run(_ask(name, kind, settings))
    except QpuExecutorError as error:
        yield of_error("qpu", error, step)
        return
    about = f"{name} ({kind}, {device.device_name})"
    reason = one_line(health.reason or "no reason is given")
    if health.state is QpuState.DOWN:
        yield wrong("qpu", f"{about} is down: {reason}", step)
    elif health.state is QpuState.DRAINING:
        yield warning("qpu", f"{about} takes nothing: {reason}", "wait, or look at the QPU")
    else:
        yield ok("qpu", f"{about} answers and is up")


async def _ask(
    name: str, kind: str, settings: Mapping[str, Any]
) -> tuple[Health, DeviceDescription]:
    adapter = build_adapter(kind, name, settings)
    with tempfile.TemporaryDirectory(prefix="qpu-doctor-") as directory:
        try:
            await adapter.open(SystemClock(), Path(directory))
            return await adapter.health(), await adapter.describe()
        finally:
            await adapter.close()
