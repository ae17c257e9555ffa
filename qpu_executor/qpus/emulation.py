"""Counts from Pulser's emulators, in worker processes.

A program is simulated once, to the state at its end; shots are then drawn from
(seed, shot number). Whoever needs the same simulation shares
it, and it is given up when the last of them leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from qpu_executor.errors import PluginRefused, ProgramRefused
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program, ProgramFacts
from qpu_executor.programs.pulser_sequence import read_abstract_repr
from qpu_executor.qpus.emulating import FinalState, draw, emulate, prepare_worker
from qpu_executor.qpus.emulator_backends import Backend, installed, version_of, what_to_install
from qpu_executor.qpus.emulator_choice import EmulationLimits, choose
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.workers import WorkerDiedError, WorkerPool, Workers, WorkerTimeoutError

P = ParamSpec("P")
R = TypeVar("R")


class Emulation:
    """`name`: of the QPU, for messages. `device` (a mapping) is empty unless it is open.

    `workers`: where simulations run; by default as many processes as the settings say.
    """

    def __init__(
        self, name: str, settings: EmulatorSettings, workers: Workers | None = None
    ) -> None:
        self.device: Mapping[str, Any] = {}
        self.device_json = ""
        self.versions: Mapping[str, str] = {}
        self._name = name
        self._settings = settings
        self._pool = workers or WorkerPool(settings.workers)
        self._warming: list[asyncio.Task[None]] = []
        self._limits = EmulationLimits(frozenset())
        self._states: SharedRuns[FinalState] = SharedRuns(
            max_weight=settings.cache_mb << 20, weigh=lambda one: one.size
        )

    async def open(self) -> None:
        """Start the workers and read the device. Raises PluginRefused or ConfigError."""
        if self.device:
            return
        self._limits = self._settings.limits(self._found_emulators())
        self.versions = self._known_versions()
        await self._pool.open()
        try:
            self.device_json = await self._read_device()
        except WorkerDiedError as error:
            raise PluginRefused(
                f"the emulator's workers can't be started: {error}", where=f"QPU {self._name}"
            ) from None
        self.device = json.loads(self.device_json)
        self._warming = [asyncio.create_task(self._warm_up()) for _ in range(self._pool.to_warm_up)]

    async def _read_device(self) -> str:
        settings = self._settings
        overrides = dict(settings.device_overrides)
        if self._pool.to_warm_up:
            # In a worker: importing Pulser would hold up the loop of this process.
            return await self._pool.run(device_json, None, settings.device, overrides)
        return await asyncio.to_thread(device_json, settings.device, overrides)

    def _found_emulators(self) -> frozenset[Backend]:
        """Those that are installed. Raises PluginRefused where that isn't enough."""
        found = installed()
        wanted = self._settings.limits(found).backend
        if find_spec("pulser") is None or not found or (wanted and wanted not in found):
            missing = wanted or Backend.QUTIP
            raise PluginRefused(
                f"the emulator {missing.value} isn't installed",
                where=f"QPU {self._name}",
                next_step=what_to_install(missing),
            )
        return found

    def _known_versions(self) -> Mapping[str, str]:
        """Of Pulser, and of the emulator where the site names one; else states tell theirs."""
        one = self._limits.backend
        emulator = {} if one is None else dict([version_of(one)])
        return {"pulser": version("pulser-core"), **emulator}

    async def close(self) -> None:
        """End the workers. May be called twice."""
        for task in self._warming:
            task.cancel()
        await asyncio.gather(*self._warming, return_exceptions=True)
        self._warming = []
        await self._pool.close()
        self.device = {}

    def refuse(self, program: Program, shots: int) -> None:
        """Raises ProgramRefused for what can be seen to be too much before simulating."""
        if program.kind != PULSER:
            raise ProgramRefused(
                f"QPU {self._name} doesn't run programs of kind {program.kind!r}",
                rule="kind",
                expected=PULSER,
            )
        most = self.device.get("max_runs")
        if most is not None and shots > most:
            raise ProgramRefused(
                f"{shots} shots; {self.device['name']} takes at most {most} in one run",
                rule="max_runs",
            )
        if program.hash not in self._states:
            found = read_abstract_repr(program.content)
            refusal = self.too_many_atoms(len(found["register"]))
            if refusal is not None:
                raise refusal

    def too_many_atoms(self, atoms: int) -> ProgramRefused | None:
        """Why a register of this size can't be emulated here; None if it can."""
        most = self._settings.max_atoms
        if atoms <= most:
            return None
        return ProgramRefused(
            f"the program has {atoms} atoms; the emulator {self._name} takes at most {most}",
            rule="emulator_max_atoms",
            next_step="use fewer atoms, or another QPU (`qpu info`)",
        )

    @property
    def limits(self) -> EmulationLimits:
        """Of one emulation, as the settings say and as is installed."""
        return self._limits

    def refusal(self, facts: ProgramFacts) -> ProgramRefused | None:
        """Why a program that the device allows can't be emulated here; None if it can."""
        refusal = self.too_many_atoms(facts.atoms)
        if refusal is not None:
            return refusal
        try:
            choose(facts, self._limits)
        except ProgramRefused as found:
            return found
        return None

    async def prepare(self, program: Program) -> FinalState:
        """The program's final state, simulated now unless it is known already.

        Raises ProgramError, or whatever the simulation fails with.
        """
        return await self._states.get(program.hash, lambda: self._simulated(program))

    async def draw(
        self, state: FinalState, *, seed: int, first_shot: int, shots: int
    ) -> Counter[str]:
        """The counts of shots `first_shot .. first_shot + shots - 1`."""
        return await asyncio.to_thread(draw, state, seed=seed, first_shot=first_shot, shots=shots)

    async def in_worker(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args)` in one of the workers; raises what it raises.

        Raises ProgramRefused if it takes longer than one emulation may.
        """
        longest = self._settings.max_run_s
        try:
            return await self._pool.run(function, longest, *args, **kwargs)
        except WorkerTimeoutError:
            raise ProgramRefused(
                f"the emulation took longer than {longest:g} s",
                rule="emulator_time",
                next_step="use fewer atoms or a shorter sequence, or another QPU (`qpu info`)",
            ) from None

    async def _simulated(self, program: Program) -> FinalState:
        return await self.in_worker(emulate, program, self.device_json, self._limits)

    async def _warm_up(self) -> None:
        # A worker that can't import the emulator says so in the first chunk's outcome.
        with suppress(Exception):
            await self._pool.run(prepare_worker, None, self._limits.backend)
