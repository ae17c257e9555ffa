"""Where a simulated QPU's counts come from: `Emulation`, or a test's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Protocol

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.program import Program
from qpu_executor.qpus.emulating import FinalState


class ShotSource(Protocol):
    """`device` (a mapping) is empty unless it is open; `device_json`: its text."""

    device: Mapping[str, Any]
    device_json: str
    versions: Mapping[str, str]

    async def open(self) -> None:
        """Start, and know the device."""

    async def close(self) -> None:
        """End. May be called twice."""

    def refuse(self, program: Program, shots: int) -> None:
        """Raises ProgramRefused for what can't be run."""

    def too_many_atoms(self, atoms: int) -> ProgramRefused | None:
        """Why a register of this size is too large; None if it isn't."""

    async def prepare(self, program: Program) -> FinalState:
        """The program's final state. Raises ProgramError, or whatever goes wrong."""

    async def draw(
        self, state: FinalState, *, seed: int, first_shot: int, shots: int
    ) -> Counter[str]:
        """Counts of these shots."""


def atoms_of(program: Program) -> int:
    """How many atoms a program's register has; 0 where it doesn't say."""
    return len(json.loads(program.content).get("register") or ())


def layout_of(program: Program) -> str:
    """Names what has to be set up before a program's first shot: its traps, else its atoms."""
    found = json.loads(program.content)
    where = found.get("layout") or found.get("register")
    return sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()[:16]
