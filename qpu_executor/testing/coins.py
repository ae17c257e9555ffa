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
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.sampling import Distribution, sample

_MOST_ATOMS = 12


def coin_program(layout: str) -> Program:
    """A program of one fair coin, on a register layout of that name."""
    return Program(PULSER, json.dumps({"layout": layout}))


class Coins:
    """A `ShotSource`; `device_name`: of a Pulser device, None for one made up, at once."""

    def __init__(self, device_name: str | None = None) -> None:
        self.device: Mapping[str, Any] = {}
        self.device_json = "{}"
        self.versions: Mapping[str, str] = {"coins": "1"}
        self._name = device_name

    async def open(self) -> None:
        """Know the device."""
        if self._name is None:
            self.device = {"name": "Coin", "max_runs": 1_000_000}
            return
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
        """All bitstrings are as probable as each other. Raises ProgramRefused (too many).

        A program without a register is a `coin_program`.
        """
        atoms = len(json.loads(program.content).get("register", [0]))
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
