"""What an emulation takes, estimated before it starts. Pure.

Memory is an upper estimate, since an emulation that doesn't fit is killed; time is a lower
one, since a task is refused by it. Constants were measured in one thread of a 2-core
x86-64 server with pulser-simulation 1.9.1, emu-sv 2.10.1 and emu-mps 2.10.1: good to a
factor of three, of five for QuTiP, whose steps get shorter where atoms interact strongly.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.qpus.emulator_backends import Backend

COMPLEX_BYTES = 16
STEP_NS = 10.0
"""Time step of emu-sv and emu-mps, their default."""

_QUTIP_BYTES = 170
"""Per amplitude and atom: its operators are stored (measured: 147 at 18 and at 19 atoms)."""
_SV_VECTORS = 25
"""State, Krylov vectors and probabilities (measured: 13 at 20 atoms)."""
_MPS_KRYLOV = 30
"""Krylov vectors that emu-mps's own documentation reckons with."""

_QUTIP_S = 5e-9
"""Per amplitude, atom and nanosecond of the program."""
_SV_STEP_S, _SV_S = 3e-3, 2e-8
"""Per step; per step, amplitude and atom."""
_MPS_S = 2e-3
"""Per step and atom, for a state with hardly any entanglement."""


@dataclass(frozen=True, slots=True)
class Costs:
    """`memory_bytes`: at most about; `time_s`: at least about; `size`: of the state, in words."""

    memory_bytes: float
    time_s: float
    size: str


def costs(
    backend: Backend, *, atoms: int, levels: int, duration_ns: float, max_bond_dim: int
) -> Costs:
    """Of one emulation. `levels`: of each atom; `max_bond_dim`: for emu-mps."""
    steps = max(1.0, duration_ns / STEP_NS)
    if backend is Backend.EMU_MPS:
        bond = min(max_bond_dim, levels ** (atoms // 2))
        return Costs(_mps_bytes(atoms, bond), _MPS_S * steps * atoms, f"a bond dimension of {bond}")
    amplitudes = float(levels) ** atoms
    size = f"a state of {levels}^{atoms} amplitudes"
    if backend is Backend.EMU_SV:
        memory = _SV_VECTORS * COMPLEX_BYTES * amplitudes
        return Costs(memory, steps * (_SV_STEP_S + _SV_S * atoms * amplitudes), size)
    memory = _QUTIP_BYTES * atoms * amplitudes
    return Costs(memory, _QUTIP_S * duration_ns * atoms * amplitudes, size)


def _mps_bytes(atoms: int, bond: int) -> float:
    """The bound of emu-mps's documentation ("Estimating memory consumption and runtime"):
    state, baths, Krylov vectors and temporary tensors of two-level atoms.
    """
    return 4.0 * bond**2 * (atoms * (atoms + 34) + 16 * _MPS_KRYLOV + 64)


def in_words(memory_bytes: float) -> str:
    """A number of bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if memory_bytes >= factor:
            return f"{memory_bytes / factor:.3g} {unit}"
    return f"{memory_bytes / 1e6:.3g} MB"
