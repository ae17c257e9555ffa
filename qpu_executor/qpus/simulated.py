"""A QPU to rehearse on: as slow, as closed and as moody as hardware (kind `simulated-qpu`).

Shots take time on the manager's clock; set-up, changes of layout, calibrations,
planned closings and breakdowns do, too. Counts come from the emulator, and are the
same as its own for the same seed. Where it remembers (`memory: file`) it goes on
without its manager, as a machine would, and the next manager finds its chunks.

The machine's behaviour is `simulated_machine.py`; here are the waiting, the counts
and the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpu_executor import __version__
from qpu_executor.errors import DeviceError, ProgramError, ProgramRefused
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import CalibrationStarter, QpuState
from qpu_executor.model.timing import CalibrationPlan
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
from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.emulation import Emulation
from qpu_executor.qpus.running import RunningChunks
from qpu_executor.qpus.shot_source import ShotSource, layout_of
from qpu_executor.qpus.simulated_counts import ChunkCounts
from qpu_executor.qpus.simulated_machine import Machine
from qpu_executor.qpus.simulated_memory import MachineFile, MachineState, SimulatedChunk
from qpu_executor.qpus.simulated_noise import NoisyShots, NoisySource
from qpu_executor.qpus.simulated_settings import SimulatedSettings

log = logging.getLogger(__name__)

_UNANSWERED = ChunkOutcome(OutcomeKind.UNANSWERED, message="the connection was closed")


def build(name: str, settings: Mapping[str, Any]) -> SimulatedQpu:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    found = SimulatedSettings.read(name, settings)
    emulation, noisy = Emulation(name, found.emulator), None
    if found.noise is not None:
        limits = {"max_atoms": found.emulator.max_atoms, "cache_mb": found.emulator.cache_mb}
        noisy = NoisyShots(emulation, found.noise.fluctuations, **limits)
    return SimulatedQpu(name, found, emulation, noisy)


class SimulatedQpu:
    """See the module. One chunk at a time; `source` gives the counts, and `noisy` those of a
    QPU that is off its settings, where there is noise.
    """

    def __init__(
        self,
        name: str,
        settings: SimulatedSettings,
        source: ShotSource,
        noisy: NoisySource | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._source = source
        self._counts = ChunkCounts(source, noisy)
        self._chunks = RunningChunks()
        self._work: dict[ChunkId, asyncio.Task[None]] = {}
        self._cuts: dict[ChunkId, asyncio.Event] = {}
        self._clock: Clock | None = None
        self._machine: Machine | None = None
        self._file: MachineFile | None = None

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """As the device and the settings say; complete once opened."""
        timing = self._settings.timing
        return Capabilities(
            kinds=frozenset({PULSER}),
            slots=1,
            max_chunk_shots=self._source.device.get("max_runs"),
            shot_rate_hz=timing.mean_rate_hz,
            can_ask=True,
            partial_results=self._settings.partial_results,
            emulated=True,
            # With noise, counts follow from when they were taken, too.
            seeded=self._settings.noise is None,
            setup_s=timing.setup_s,
            switch_s=timing.switch_s,
            layout_s=timing.layout_s,
            can_calibrate=self._settings.calibration is not None,
            calibration=self._calibration_plan(),
        )

    async def open(self, clock: Clock, directory: Path) -> None:
        """Start the emulator, and find the machine as it is by now.

        Raises PluginRefused, ConfigError, or StoreError (its file is damaged).
        """
        if self._machine is not None:
            return
        await self._source.open()
        state = None
        if self._settings.remembers:
            self._file = MachineFile(directory / f"{self._name}.simulated.json")
            state = await self._file.read()
        self._clock = clock
        self._machine = Machine(self._name, self._settings, state or MachineState.new(clock.now()))
        for chunk, outcome in self._machine.state.ended.items():
            self._chunks.begin(chunk)
            self._chunks.end(chunk, outcome)
        for found in self._machine.state.chunks.values():
            self._go_on(self._machine, clock, found)
        await self._remember()

    async def close(self) -> None:
        """Let go. Chunks end, unless the machine remembers them: then they go on without us."""
        machine, clock, self._machine = self._machine, self._clock, None
        if self._settings.remembers:
            self._chunks.let_go(_UNANSWERED)
        elif machine is not None and clock is not None:
            for chunk in self._chunks.running:
                self._chunks.end(chunk, self._ended_now(machine, clock, chunk))
        for work in self._work.values():
            work.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        # After whatever was being written: who opens it next has to find all of it.
        await self._write_down(machine)
        await self._source.close()

    async def describe(self) -> DeviceDescription:
        """The device that it stands for."""
        self._opened()
        return DeviceDescription(self._source.device["name"], self._source.device_json)

    async def health(self) -> Health:
        """DOWN with the reason while it is closed, broken or calibrating."""
        if self._machine is None or self._clock is None:
            return Health(QpuState.DOWN, "the simulated QPU isn't open")
        return self._machine.health(self._clock.now())

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Programs with more atoms than the emulator can hold are refused."""
        return self._source.too_many_atoms(facts.atoms)

    async def start(self, order: ChunkOrder) -> None:
        """Accept a chunk; see `QpuAdapter.start`."""
        machine, clock = self._opened()
        if order.chunk in self._chunks:
            raise self._refused(f"chunk {order.chunk} was already started here")
        self._source.refuse(order.program, order.shots)
        health = machine.health(clock.now())
        if health.state is not QpuState.UP:
            raise DeviceError(health.reason, where=f"QPU {self._name}")
        if machine.occupied_by is not None:
            raise self._refused(f"chunk {machine.occupied_by.id} is running")
        layout = layout_of(order.program)
        self._go_on(machine, clock, machine.accept(order, layout, clock.now()))
        await self._remember()

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes."""
        return _UNANSWERED if self._away(chunk) else await self._chunks.wait(chunk)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """What became of a chunk; of an earlier process's too, where it remembers."""
        return _UNANSWERED if self._away(chunk) else self._chunks.ask(chunk)

    async def stop(self, chunk: ChunkId) -> None:
        """End a chunk; the shots that it took are counted where partial results are given."""
        if self._machine is None or self._clock is None:
            return
        found = self._machine.state.chunks.get(chunk)
        if found is None or found.end is not None:
            return
        self._machine.end(found, self._machine.stopped_end(found, self._clock.now()))
        self._cuts[chunk].set()
        await self._remember()

    async def calibrate(self) -> None:
        """Calibrate, as soon as no chunk runs. Raises DeviceError without a calibration plan."""
        machine, clock = self._opened()
        if self._settings.calibration is None:
            raise DeviceError("it has no calibration in the site file", where=f"QPU {self._name}")
        machine.ask_calibration(clock.now())
        await self._remember()

    # -- one chunk ------------------------------------------------------------

    def _go_on(self, machine: Machine, clock: Clock, chunk: SimulatedChunk) -> None:
        """Follow a chunk, new or found in the file, to its outcome."""
        if chunk.end is None and (planned := machine.planned_end(chunk)).at <= clock.now():
            machine.end(chunk, planned)
        self._chunks.begin(chunk.id)
        self._cuts[chunk.id] = asyncio.Event()
        work = asyncio.create_task(self._run(machine, clock, chunk), name=f"chunk {chunk.id}")
        self._work[chunk.id] = work
        work.add_done_callback(lambda _: self._forget(chunk.id))

    def _forget(self, chunk: ChunkId) -> None:
        del self._work[chunk], self._cuts[chunk]

    async def _run(self, machine: Machine, clock: Clock, chunk: SimulatedChunk) -> None:
        """The shots' time passes while the emulator works; a slow emulator is waited for."""
        preparing = asyncio.ensure_future(self._counts.prepare(chunk))
        try:
            if chunk.end is None:
                await self._pass_time(machine, clock, chunk, preparing)
            outcome = await self._read_out(machine, clock, chunk, preparing)
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
        await self._remember()
        self._chunks.end(chunk.id, outcome)

    async def _pass_time(
        self,
        machine: Machine,
        clock: Clock,
        chunk: SimulatedChunk,
        preparing: asyncio.Future[FinalState],
    ) -> None:
        """Wait until the chunk's end: planned, asked for, or since it can't be emulated."""
        planned, cut = machine.planned_end(chunk), self._cuts[chunk.id]
        preparing.add_done_callback(lambda done: cut.set() if _failed(done) else None)
        waits = [
            asyncio.ensure_future(clock.sleep_until(planned.at)),
            asyncio.ensure_future(cut.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if chunk.end is None:
            machine.end(chunk, machine.stopped_end(chunk, clock.now()))

    async def _read_out(
        self,
        machine: Machine,
        clock: Clock,
        chunk: SimulatedChunk,
        preparing: asyncio.Future[FinalState],
    ) -> ChunkOutcome:
        assert chunk.end is not None
        if not chunk.end.taken and not _failed(preparing):
            return self._outcome(machine, clock, chunk)
        try:
            counts = await self._counts.draw(await preparing, chunk, chunk.end.taken)
        except ProgramError as refusal:
            return self._outcome(
                machine, clock, chunk, kind=OutcomeKind.REFUSED, message=str(refusal)
            )
        except Exception as error:  # of the emulator itself; the manager may try again
            said = f"the simulation failed: {str(error) or type(error).__name__}"
            return self._outcome(machine, clock, chunk, kind=OutcomeKind.FAULT, message=said)
        return self._outcome(machine, clock, chunk, counts)

    def _ended_now(self, machine: Machine, clock: Clock, chunk: ChunkId) -> ChunkOutcome:
        """The outcome of a chunk that nobody will read out; shots or not, it gives none."""
        found = machine.state.chunks.get(chunk)
        if found is None:
            return machine.state.ended[chunk]
        if found.end is None:
            machine.end(found, machine.stopped_end(found, clock.now()))
        message = "the simulated QPU was closed"
        return self._outcome(machine, clock, found, kind=OutcomeKind.STOPPED, message=message)

    def _outcome(
        self,
        machine: Machine,
        clock: Clock,
        chunk: SimulatedChunk,
        counts: Mapping[str, int] | None = None,
        **changes: object,
    ) -> ChunkOutcome:
        versions = {"simulated-qpu": __version__, **self._source.versions}
        return machine.settle(chunk, clock.now(), counts or {}, versions=versions, **changes)

    # -- the rest ---------------------------------------------------------------

    def _calibration_plan(self) -> CalibrationPlan | None:
        """Without a period: `health` says when the next one is due, to the microsecond."""
        plan = self._settings.calibration
        if plan is None:
            return None
        starter = CalibrationStarter(plan.by)
        return CalibrationPlan(period_s=None, length_s=plan.length_s[1], starter=starter)

    def _refused(self, message: str) -> DeviceError:
        """A manager's own chunks never get here: they may be those of another store."""
        hint = f"if the store is a new one, remove {self._name}.simulated.json beside it"
        next_step = hint if self._settings.remembers else None
        return DeviceError(message, where=f"QPU {self._name}", next_step=next_step)

    def _away(self, chunk: ChunkId) -> bool:
        """Whether it may know the chunk, and can't be asked now."""
        return self._machine is None and self._settings.remembers and chunk not in self._chunks

    def _opened(self) -> tuple[Machine, Clock]:
        if self._machine is None or self._clock is None:
            raise DeviceError("the simulated QPU isn't open", where=f"QPU {self._name}")
        return self._machine, self._clock

    async def _remember(self) -> None:
        """Write down what the machine knows, unless it was closed meanwhile."""
        await self._write_down(self._machine)

    async def _write_down(self, machine: Machine | None) -> None:
        """Where it remembers. A full disk stops no chunk."""
        if self._file is None or machine is None:
            return
        try:
            await self._file.write(machine.state)
        except OSError as error:
            log.error("QPU %s can't write down what it knows: %s", self._name, error)


def _failed(done: asyncio.Future[FinalState]) -> bool:
    return done.done() and not done.cancelled() and done.exception() is not None
