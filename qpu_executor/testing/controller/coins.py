"""Counts without an emulator: every atom is a coin. For tests that don't look at physics."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import Program
from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.sampling import Distribution, sample

_MOST_ATOMS = 12


class Coins:
    """A `ShotSource`; `device`: name of a Pulser device."""

    def __init__(self, device_name: str) -> None:
        self.device: Mapping[str, Any] = {}
        self.device_json = ""
        self.versions: Mapping[str, str] = {}
        self._name = device_name

    async def open(self) -> None:
        """Know the device."""
        self.device_json = await asyncio.to_thread(device_json, self._name)
        self.device = json.loads(self.device_json)

    async def close(self) -> None:
        """Nothing to end."""

    def refuse(self, program: Program, shots: int) -> None:
        """Everything is run."""

    def too_many_atoms(self, atoms: int) -> ProgramRefused | None:
        """See `prepare`."""
        return None

    async def prepare(self, program: Program) -> Distribution:
        """All bitstrings are as probable as each other. Raises ProgramRefused (too many)."""
        atoms = len(json.loads(program.content)["register"])
        if atoms > _MOST_ATOMS:
            raise ProgramRefused(f"{atoms} coins are more than {_MOST_ATOMS}", rule="coins")
        strings = "".join(f"{n:0{atoms}b}" for n in range(2**atoms)).encode()
        return Distribution(atoms, strings, np.full(2**atoms, 0.5**atoms).tobytes())

    async def draw(
        self, state: FinalState, *, seed: int, first_shot: int, shots: int
    ) -> Counter[str]:
        """See `ShotSource`."""
        assert isinstance(state, Distribution)
        return sample(state, seed=seed, first_shot=first_shot, shots=shots)
