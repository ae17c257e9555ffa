"""The emulators that a program can be simulated with: names, packages, what each can do.

What each can do is what it was seen to do: `tests/unit/test_emulator_backends.py` runs
every kind of program on every one of them. Nothing is imported here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec


class Backend(enum.Enum):
    """An emulator, by the name that the site file and results use."""

    QUTIP = "qutip"
    """pulser-simulation: a state vector; every basis."""
    EMU_SV = "emu-sv"
    """A state vector without stored operators: larger registers in the same memory."""
    EMU_MPS = "emu-mps"
    """A matrix product state: large registers, as far as entanglement allows."""


@dataclass(frozen=True, slots=True)
class Package:
    """`module` is imported, `distribution` has the version, `extra` of ours brings it.

    `bases`: sets of bases that one program may address.
    """

    module: str
    distribution: str
    extra: str
    bases: frozenset[frozenset[str]]
    least_atoms: int = 1


_RYDBERG = frozenset({"ground-rydberg"})
_DIGITAL = frozenset({"digital"})
_XY = frozenset({"XY"})

PACKAGES = {
    Backend.QUTIP: Package(
        "pulser_simulation",
        "pulser-simulation",
        "emulator",
        frozenset({_RYDBERG, _DIGITAL, _XY, _RYDBERG | _DIGITAL}),
    ),
    Backend.EMU_SV: Package("emu_sv", "emu-sv", "emu-sv", frozenset({_RYDBERG})),
    Backend.EMU_MPS: Package(
        "emu_mps", "emu-mps", "emu-mps", frozenset({_RYDBERG, _XY}), least_atoms=2
    ),
}


def installed() -> frozenset[Backend]:
    """Those whose packages are there."""
    return frozenset(
        one for one, package in PACKAGES.items() if find_spec(package.module) is not None
    )


def what_to_install(backend: Backend) -> str:
    """The one line to type for an emulator that isn't installed."""
    return f"pip install 'qpu-executor[{PACKAGES[backend].extra}]'"


def version_of(backend: Backend) -> tuple[str, str]:
    """Name and version of an installed emulator, as results carry them."""
    distribution = PACKAGES[backend].distribution
    return distribution, version(distribution)
