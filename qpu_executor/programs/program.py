"""A program: what a task runs, stored once by the hash of its content.

Light on purpose (standard library only), since both wings and every worker
process carry programs around. Turning a Pulser sequence into one is
`pulser_sequence.py`; a device's rules are `device_rules.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

PULSER = "pulser-abstract"
"""Kind of a Pulser sequence in its abstract representation (JSON text)."""


@dataclass(frozen=True)
class Program:
    """`kind`: how `content` is to be read; kinds that a QPU doesn't know are refused."""

    kind: str
    content: str = field(repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over kind and content: the program's name in the store."""
        digest = hashlib.sha256(self.kind.encode())
        digest.update(b"\0")
        digest.update(self.content.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What a check found out about a program on a device.

    `atoms`: qubits; `duration_ns`: of one shot's pulses, without the fall time;
    `layout`: names the register layout (programs with the same one need no
    change between them); `qubit_ids`: in the order of the bits of a bitstring.
    `bases`: that it addresses; `levels`: of each atom that these make.
    """

    atoms: int
    duration_ns: int
    layout: str
    qubit_ids: tuple[str, ...]
    bases: tuple[str, ...] = ("ground-rydberg",)
    levels: int = 2
