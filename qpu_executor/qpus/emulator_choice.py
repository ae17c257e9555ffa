"""Which emulator a program is simulated with, or why none can. Pure.

`auto` takes the first that is installed, does the program's basis, and fits: QuTiP for up
to `QUTIP_ATOMS` atoms; above, emu-sv, QuTiP, emu-mps: exact ones before approximate ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus.emulator_backends import PACKAGES, Backend, what_to_install
from qpu_executor.qpus.emulator_costs import costs, in_words

QUTIP_ATOMS = 12
"""Up to here QuTiP needs less than a second, and no import of torch before it."""

_SMALL = (Backend.QUTIP, Backend.EMU_SV, Backend.EMU_MPS)
_LARGE = (Backend.EMU_SV, Backend.QUTIP, Backend.EMU_MPS)


@dataclass(frozen=True, slots=True)
class EmulationLimits:
    """What one emulation may be.

    `backend`: the one that the site asks for (None: auto); `installed`: those that are
    there. `memory_bytes` and `run_s`: of one emulation. `max_bond_dim`, `threads`, `gpu`:
    passed on to the emulators that have them.
    """

    installed: frozenset[Backend]
    backend: Backend | None = None
    max_atoms: int = 14
    memory_bytes: float = float("inf")
    run_s: float = float("inf")
    max_bond_dim: int = 256
    threads: int = 1
    gpu: bool = False


def choose(facts: ProgramFacts, limits: EmulationLimits) -> Backend:
    """The emulator for a program. Raises ProgramRefused with the number that is too large."""
    if facts.atoms > limits.max_atoms:
        raise ProgramRefused(
            f"the program has {facts.atoms} atoms; at most {limits.max_atoms} are emulated here",
            rule="emulator_max_atoms",
            next_step="use fewer atoms, or another QPU (`qpu info`)",
        )
    reasons = []
    for backend in _candidates(facts, limits):
        reason = _why_not(backend, facts, limits)
        if reason is None:
            return backend
        reasons.append(f"{backend.value}: {reason}")
    raise ProgramRefused(
        f"no emulator takes this program of {facts.atoms} atoms; " + "; ".join(reasons),
        rule="emulator",
        next_step="use fewer atoms or a shorter sequence, or another QPU (`qpu info`)",
    )


def _candidates(facts: ProgramFacts, limits: EmulationLimits) -> Iterable[Backend]:
    if limits.backend is not None:
        return (limits.backend,)
    return _SMALL if facts.atoms <= QUTIP_ATOMS else _LARGE


def _why_not(backend: Backend, facts: ProgramFacts, limits: EmulationLimits) -> str | None:
    package = PACKAGES[backend]
    if frozenset(facts.bases) not in package.bases:
        can = " or ".join(sorted("+".join(sorted(one)) for one in package.bases))
        return f"it does {can}, and the program addresses {'+'.join(sorted(facts.bases))}"
    if facts.atoms < package.least_atoms:
        return f"it needs at least {package.least_atoms} atoms"
    need = costs(
        backend,
        atoms=facts.atoms,
        levels=facts.levels,
        duration_ns=facts.duration_ns,
        max_bond_dim=limits.max_bond_dim,
    )
    if need.memory_bytes > limits.memory_bytes:
        return (
            f"{need.size} takes about {in_words(need.memory_bytes)}; an emulation may take "
            f"{in_words(limits.memory_bytes)} here"
        )
    if need.time_s > limits.run_s:
        return (
            f"{need.size} takes at least about {need.time_s:.2g} s; an emulation may take "
            f"{limits.run_s:g} s here"
        )
    if backend not in limits.installed:
        return f"it isn't installed here ({what_to_install(backend)})"
    return None
