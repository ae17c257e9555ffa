"""A QPU that is one of Pulser's emulators, in worker processes (kind `pulser-emulator`).

A program is simulated once, to the state at its end; shots are then drawn from it, each
from (seed, shot number), whichever the emulator (`emulator_choice.py`). Chunks of the
same program share the simulation. Without noise there is no calibration: the epoch is
always "ideal".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import DeviceError, ProgramError, ProgramRefused
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import PULSER, ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.emulation import Emulation
from qpu_executor.qpus.emulator_choice import EmulationLimits
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.running import RunningChunks
from qpu_executor.qpus.workers import Workers

EPOCH = "ideal"


def build(name: str, settings: Mapping[str, Any]) -> PulserEmulator:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    return PulserEmulator(name, EmulatorSettings.read(name, settings))


class PulserEmulator:
    """See the module. Chunks beyond `slots` wait for a free worker.

    `workers`: where simulations run; by default in processes of this host.
    """

    def __init__(
        self, name: str, settings: EmulatorSettings, workers: Workers | None = None
    ) -> None:
        self._name = name
        self._settings = settings
        self._emulation = Emulation(name, settings, workers)
        self._chunks = RunningChunks()
        self._work: dict[ChunkId, asyncio.Task[None]] = {}

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """As the device and the settings say; complete once opened."""
        return Capabilities(
            kinds=frozenset({PULSER}),
            slots=self._settings.workers,
            max_chunk_shots=self._emulation.device.get("max_runs"),
            can_ask=True,
            partial_results=False,
            emulated=True,
            seeded=True,
        )

    @property
    def limits(self) -> EmulationLimits:
        """Of one emulation; complete once opened."""
        return self._emulation.limits

    @property
    def running(self) -> int:
        """Chunks without an outcome."""
        return len(self._chunks.running)

    async def open(self, clock: Clock | None = None, directory: Path | None = None) -> None:
        """Start the workers and read the device. Raises PluginRefused or ConfigError.

        Needs neither a clock nor a directory: it works as fast as it can, and remembers nothing.
        """
        await self._emulation.open()

    async def close(self) -> None:
        """End all chunks and workers."""
        for chunk in self._chunks.running:
            await self._end_early(chunk, "the emulator was closed")
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        await self._emulation.close()

    async def describe(self) -> DeviceDescription:
        """The emulated device."""
        self._must_be_open()
        return DeviceDescription(self._emulation.device["name"], self._emulation.device_json)

    async def health(self) -> Health:
        """UP from `open` to `close`."""
        if self._emulation.device:
            return Health(QpuState.UP)
        return Health(QpuState.DOWN, "the emulator isn't open")

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Programs that no emulator here does, or for which memory or time don't suffice."""
        return self._emulation.refusal(facts)

    async def start(self, order: ChunkOrder) -> None:
        """Accept a chunk; see `QpuAdapter.start`."""
        self._must_be_open()
        if order.chunk in self._chunks:
            raise DeviceError(f"chunk {order.chunk} was already started here")
        self._emulation.refuse(order.program, order.shots)
        self._chunks.begin(order.chunk)
        work = asyncio.create_task(self._run(order), name=f"chunk {order.chunk}")
        self._work[order.chunk] = work
        work.add_done_callback(lambda _: self._work.pop(order.chunk, None))

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes."""
        return await self._chunks.wait(chunk)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """Truthful also after a restart: what ran in an earlier process is not known here."""
        return self._chunks.ask(chunk)

    async def stop(self, chunk: ChunkId) -> None:
        """End a chunk without shots. Others that need the same simulation keep it."""
        await self._end_early(chunk, "stopped")

    async def calibrate(self) -> None:
        """Refused: without noise there is nothing to calibrate."""
        raise DeviceError("an emulator without noise isn't calibrated", where=f"QPU {self._name}")

    def _must_be_open(self) -> None:
        if not self._emulation.device:
            raise DeviceError("the emulator isn't open", where=f"QPU {self._name}")

    async def _end_early(self, chunk: ChunkId, message: str) -> None:
        if self._chunks.end(chunk, self._outcome(OutcomeKind.STOPPED, message=message)):
            work = self._work.get(chunk)
            if work is not None:
                work.cancel()

    async def _run(self, order: ChunkOrder) -> None:
        self._chunks.end(order.chunk, await self._take_shots(order))

    async def _take_shots(self, order: ChunkOrder) -> ChunkOutcome:
        began = perf_counter()
        try:
            with only_own_cancellation():
                state = await self._emulation.prepare(order.program)
                ready = perf_counter()
                counts = await self._emulation.draw(
                    state, seed=order.seed, first_shot=order.first_shot, shots=order.shots
                )
        except ProgramError as refusal:
            return self._outcome(OutcomeKind.REFUSED, message=str(refusal))
        except Exception as error:  # also of the emulator itself; the manager may try again
            return self._outcome(
                OutcomeKind.FAULT,
                message=f"the simulation failed: {str(error) or type(error).__name__}",
                setup_s=perf_counter() - began,
            )
        return self._outcome(
            OutcomeKind.FINISHED,
            counts=counts,
            device_s=perf_counter() - ready,
            setup_s=ready - began,
            made_by=state.versions,
        )

    def _outcome(
        self, kind: OutcomeKind, made_by: tuple[tuple[str, str], ...] = (), **facts: Any
    ) -> ChunkOutcome:
        versions = {**self._emulation.versions, **dict(made_by)}
        return ChunkOutcome(kind, epoch=EPOCH, versions=versions, **facts)
