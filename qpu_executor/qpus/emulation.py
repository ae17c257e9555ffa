"""Counts from Pulser's local emulator, in worker processes.

A program is simulated once, to the exact distribution of its bitstrings; shots
are then drawn from (seed, shot number). Whoever needs the same simulation shares
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
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import read_abstract_repr
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.simulating import simulate, warm_up
from qpu_executor.qpus.workers import WorkerDiedError, WorkerPool

P = ParamSpec("P")
R = TypeVar("R")


class Emulation:
    """`name`: of the QPU, for messages. `device` (a mapping) is empty unless it is open."""

    def __init__(self, name: str, settings: EmulatorSettings) -> None:
        self.device: Mapping[str, Any] = {}
        self.device_json = ""
        self.versions: Mapping[str, str] = {}
        self._name = name
        self._settings = settings
        self._pool = WorkerPool(settings.workers)
        self._warming: list[asyncio.Task[None]] = []
        self._distributions: SharedRuns[Distribution] = SharedRuns(
            max_weight=settings.cache_mb << 20, weigh=lambda one: one.size
        )

    async def open(self) -> None:
        """Start the workers and read the device. Raises PluginRefused or ConfigError."""
        if self.device:
            return
        for package in ("pulser", "pulser_simulation"):
            if find_spec(package) is None:
                raise PluginRefused(
                    f"the package {package} isn't installed",
                    where=f"QPU {self._name}",
                    next_step="pip install 'qpu-executor[emulator]'",
                )
        self.versions = {
            "pulser": version("pulser-core"),
            "pulser-simulation": version("pulser-simulation"),
        }
        await self._pool.open()
        # In a worker: importing Pulser would hold up the loop of this process.
        settings = self._settings
        try:
            self.device_json = await self._pool.run(
                device_json, None, settings.device, dict(settings.device_overrides)
            )
        except WorkerDiedError as error:
            raise PluginRefused(
                f"the emulator's workers can't be started: {error}", where=f"QPU {self._name}"
            ) from None
        self.device = json.loads(self.device_json)
        self._warming = [asyncio.create_task(self._warm_up()) for _ in range(settings.workers)]

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
        if program.hash not in self._distributions:
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

    async def prepare(self, program: Program) -> Distribution:
        """The program's distribution, simulated now unless it is known already.

        Raises ProgramError, or whatever the simulation fails with.
        """
        return await self._distributions.get(program.hash, lambda: self._simulated(program))

    async def draw(
        self, distribution: Distribution, *, seed: int, first_shot: int, shots: int
    ) -> Counter[str]:
        """The counts of shots `first_shot .. first_shot + shots - 1`."""
        return await asyncio.to_thread(
            sample, distribution, seed=seed, first_shot=first_shot, shots=shots
        )

    async def in_worker(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args)` in one of the worker processes; raises what it raises."""
        return await self._pool.run(function, None, *args, **kwargs)

    async def _simulated(self, program: Program) -> Distribution:
        return await self._pool.run(
            simulate, None, program, self.device_json, self._settings.max_atoms
        )

    async def _warm_up(self) -> None:
        # A worker that can't import the emulator says so in the first chunk's outcome.
        with suppress(Exception):
            await self._pool.run(warm_up, None)
