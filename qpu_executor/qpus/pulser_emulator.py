"""A QPU that is Pulser's local emulator, in worker processes (kind `pulser-emulator`).

A program is simulated once, to the exact distribution of its bitstrings; shots
are then drawn from (seed, shot number). Chunks of the same program share the
simulation. Without noise there is no calibration: the epoch is always "ideal".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from qpu_executor.errors import DeviceError, PluginRefused, ProgramError, ProgramRefused
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program, ProgramFacts
from qpu_executor.programs.pulser_sequence import read_abstract_repr
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.running import RunningChunks
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.simulating import simulate, warm_up
from qpu_executor.qpus.workers import WorkerDiedError, WorkerPool

EPOCH = "ideal"


def build(name: str, settings: Mapping[str, Any]) -> PulserEmulator:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    return PulserEmulator(name, EmulatorSettings.read(name, settings))


class PulserEmulator:
    """See the module. Chunks beyond `workers` wait for a free worker."""

    def __init__(self, name: str, settings: EmulatorSettings) -> None:
        self._name = name
        self._settings = settings
        self._device: dict[str, Any] = {}
        self._device_json = ""
        self._versions: dict[str, str] = {}
        self._pool = WorkerPool(settings.workers)
        self._chunks = RunningChunks()
        self._work: dict[ChunkId, asyncio.Task[None]] = {}
        self._warming: list[asyncio.Task[None]] = []
        self._distributions: SharedRuns[Distribution] = SharedRuns(
            max_weight=settings.cache_mb << 20, weigh=lambda one: one.size
        )

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
            max_chunk_shots=self._device.get("max_runs"),
            shot_rate_hz=self._settings.shot_rate_hz,
            can_ask=True,
            partial_results=False,
            emulated=True,
            seeded=True,
        )

    async def open(self) -> None:
        """Start the workers and read the device. Raises PluginRefused or ConfigError."""
        if self._device:
            return
        for package in ("pulser", "pulser_simulation"):
            if find_spec(package) is None:
                raise PluginRefused(
                    f"the package {package} isn't installed",
                    where=f"QPU {self._name}",
                    next_step="pip install 'qpu-executor[emulator]'",
                )
        self._versions = {
            "pulser": version("pulser-core"),
            "pulser-simulation": version("pulser-simulation"),
        }
        await self._pool.open()
        # In a worker: importing Pulser would hold up the loop of this process.
        settings = self._settings
        try:
            self._device_json = await self._pool.run(
                device_json, None, settings.device, dict(settings.device_overrides)
            )
        except WorkerDiedError as error:
            raise PluginRefused(
                f"the emulator's workers can't be started: {error}", where=f"QPU {self._name}"
            ) from None
        self._device = json.loads(self._device_json)
        self._warming = [
            asyncio.create_task(self._warm_up()) for _ in range(self._settings.workers)
        ]

    async def close(self) -> None:
        """End all chunks and workers."""
        for chunk in self._chunks.running:
            await self._end_early(chunk, "the emulator was closed")
        for task in self._warming:
            task.cancel()
        await asyncio.gather(*self._warming, *self._work.values(), return_exceptions=True)
        self._warming = []
        await self._pool.close()
        self._device = {}

    async def describe(self) -> DeviceDescription:
        """The emulated device."""
        if not self._device:
            raise DeviceError("the emulator isn't open", where=f"QPU {self._name}")
        return DeviceDescription(self._device["name"], self._device_json)

    async def health(self) -> Health:
        """UP from `open` to `close`."""
        if self._device:
            return Health(QpuState.UP)
        return Health(QpuState.DOWN, "the emulator isn't open")

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Programs with more atoms than the emulator can hold are refused."""
        return self._too_many_atoms(facts.atoms)

    async def start(self, order: ChunkOrder) -> None:
        """Accept a chunk; see `QpuAdapter.start`."""
        if not self._device:
            raise DeviceError("the emulator isn't open", where=f"QPU {self._name}")
        if order.chunk in self._chunks:
            raise DeviceError(f"chunk {order.chunk} was already started here")
        self._refuse(order)
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

    async def _end_early(self, chunk: ChunkId, message: str) -> None:
        if self._chunks.end(chunk, self._outcome(OutcomeKind.STOPPED, message=message)):
            work = self._work.get(chunk)
            if work is not None:
                work.cancel()

    def _refuse(self, order: ChunkOrder) -> None:
        if order.program.kind != PULSER:
            raise ProgramRefused(
                f"QPU {self._name} doesn't run programs of kind {order.program.kind!r}",
                rule="kind",
                expected=PULSER,
            )
        most = self._device.get("max_runs")
        if most is not None and order.shots > most:
            raise ProgramRefused(
                f"{order.shots} shots; {self._device['name']} takes at most {most} in one run",
                rule="max_runs",
            )
        if order.program.hash not in self._distributions:
            found = read_abstract_repr(order.program.content)
            refusal = self._too_many_atoms(len(found["register"]))
            if refusal is not None:
                raise refusal

    def _too_many_atoms(self, atoms: int) -> ProgramRefused | None:
        most = self._settings.max_atoms
        if atoms <= most:
            return None
        return ProgramRefused(
            f"the program has {atoms} atoms; the emulator {self._name} takes at most {most}",
            rule="emulator_max_atoms",
            next_step="use fewer atoms, or another QPU (`qpu info`)",
        )

    async def _run(self, order: ChunkOrder) -> None:
        self._chunks.end(order.chunk, await self._take_shots(order))

    async def _take_shots(self, order: ChunkOrder) -> ChunkOutcome:
        began = perf_counter()
        try:
            distribution = await self._distributions.get(
                order.program.hash, lambda: self._simulated(order.program)
            )
            ready = perf_counter()
            counts = await asyncio.to_thread(
                sample,
                distribution,
                seed=order.seed,
                first_shot=order.first_shot,
                shots=order.shots,
            )
            await self._keep_pace(order.shots, perf_counter() - ready)
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
        )

    async def _simulated(self, program: Program) -> Distribution:
        return await self._pool.run(
            simulate, None, program, self._device_json, self._settings.max_atoms
        )

    async def _keep_pace(self, shots: int, elapsed_s: float) -> None:
        rate = self._settings.shot_rate_hz
        if rate is not None:
            await asyncio.sleep(max(0.0, shots / rate - elapsed_s))

    async def _warm_up(self) -> None:
        # A worker that can't import the emulator says so in the first chunk's outcome.
        with suppress(Exception):
            await self._pool.run(warm_up, None)

    def _outcome(self, kind: OutcomeKind, **facts: Any) -> ChunkOutcome:
        return ChunkOutcome(kind, epoch=EPOCH, versions=self._versions, **facts)
