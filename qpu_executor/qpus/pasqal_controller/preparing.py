"""Programs as the controller runs them: rebuilt on its own device, in a worker process.

A program may have been written for another device, or without a measurement; what is
sent is the same sequence of pulses on the controller's device, or nothing: this is the
check of a program at its dispatch, against the specification as it is then.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from qpu_executor.errors import DeviceError, ProgramRefused
from qpu_executor.programs.device_rules import on_device
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_extra import import_pulser, pulser_advice_silenced
from qpu_executor.qpus.pasqal_controller.messages import shortened
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.workers import (
    WorkerDiedError,
    WorkerPool,
    WorkersClosedError,
    WorkerTimeoutError,
)

_KEPT_BYTES = 64 << 20
_MEMORY_BYTES = 4 << 30
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """`sequence`: abstract representation on the controller's device; `atoms`: its bits."""

    sequence: str
    atoms: int


class Preparing:
    """Rebuilds programs, each once per device. Call `open` first."""

    def __init__(self) -> None:
        self._pool = WorkerPool(1, memory_bytes=_MEMORY_BYTES)
        self._prepared: SharedRuns[Prepared] = SharedRuns(
            max_weight=_KEPT_BYTES, weigh=lambda one: len(one.sequence)
        )

    async def open(self) -> None:
        """Make the worker pool."""
        await self._pool.open()

    async def close(self) -> None:
        """End the worker. May be called twice."""
        await self._pool.close()

    async def prepare(self, program: Program, device: str) -> Prepared:
        """The program on this device (JSON).

        Raises ProgramRefused or ProgramError, and DeviceError where it is closed meanwhile.
        """
        if program.kind != PULSER:
            raise ProgramRefused(
                f"a Pasqal controller doesn't run programs of kind {program.kind!r}",
                rule="kind",
                expected=PULSER,
            )
        version = hashlib.sha256(device.encode()).hexdigest()
        return await self._prepared.get(
            f"{program.hash}:{version}", lambda: self._rebuilt(program, device)
        )

    async def readable(self, device: str) -> str | None:
        """Why Pulser can't read a device (JSON); None if it can."""
        try:
            return await self._pool.run(_unreadable_device, _TIMEOUT_S, device)
        except (WorkerDiedError, WorkerTimeoutError, MemoryError) as error:
            return str(error) or "it takes too much memory"

    async def _rebuilt(self, program: Program, device: str) -> Prepared:
        try:
            return await self._pool.run(_rebuild, _TIMEOUT_S, program, device)
        except WorkersClosedError:
            raise DeviceError("the adapter was closed before the program was sent") from None
        except (WorkerDiedError, WorkerTimeoutError, MemoryError) as error:
            raise ProgramRefused(
                f"the program can't be rebuilt for the device: {str(error) or 'out of memory'}",
                rule="check_died",
                next_step="use a shorter or simpler sequence, or try again",
            ) from None


def _rebuild(program: Program, device: str) -> Prepared:
    sequence = on_device(program, device)
    with pulser_advice_silenced():
        text: str = sequence.to_abstract_repr(skip_validation=True)
    return Prepared(text, len(sequence.get_register().qubit_ids))


def _unreadable_device(device: str) -> str | None:
    pulser = import_pulser()
    try:
        with pulser_advice_silenced():
            pulser.abstract_repr.deserialize_device(device)
    except Exception as error:  # whatever a foreign specification can make Pulser raise
        root: BaseException = error
        while (behind := root.__cause__ or root.__context__) is not None:
            root = behind
        return shortened(str(root)) or type(root).__name__
    written = json.loads(device).get("pulser_version", "an unknown version")
    return None if isinstance(written, str) else f"{written!r} is no version of Pulser"
