"""Simulates a program with the emulator that suits it: what runs in a worker process."""

from __future__ import annotations

from collections import Counter
from typing import Any

from qpu_executor.errors import without_context
from qpu_executor.programs.device_rules import facts_of, on_device
from qpu_executor.programs.program import Program
from qpu_executor.qpus.emulator_backends import Backend
from qpu_executor.qpus.emulator_choice import EmulationLimits, choose
from qpu_executor.qpus.matrix_product import MatrixProduct, sample_product
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.simulating import simulate_sequence, warm_up
from qpu_executor.qpus.simulating_emu import (
    import_emulator,
    simulate_product,
    simulate_vector,
)

FinalState = Distribution | MatrixProduct
"""What a simulation gives, and shots are drawn from."""


@without_context
def emulate(program: Program, device_json: str, limits: EmulationLimits) -> FinalState:
    """The state of a program's atoms at its end, without noise.

    Raises ProgramRefused or ProgramError (the program's fault), or DeviceError.
    """
    sequence = on_device(program, device_json)
    return _run(choose(facts_of(sequence), limits), sequence, limits)


def draw(state: FinalState, *, seed: int, first_shot: int, shots: int) -> Counter[str]:
    """The counts of shots `first_shot .. first_shot + shots - 1`: each from its number alone."""
    if isinstance(state, MatrixProduct):
        return sample_product(state, seed=seed, first_shot=first_shot, shots=shots)
    return sample(state, seed=seed, first_shot=first_shot, shots=shots)


def prepare_worker(backend: Backend | None) -> None:
    """Import what the first simulation would have to wait for."""
    if backend in (None, Backend.QUTIP):
        warm_up()
    else:
        import_emulator(backend)


def _run(backend: Backend, sequence: Any, limits: EmulationLimits) -> FinalState:
    match backend:
        case Backend.QUTIP:
            return simulate_sequence(sequence, limits.max_atoms)
        case Backend.EMU_SV:
            return simulate_vector(sequence, limits)
        case Backend.EMU_MPS:
            return simulate_product(sequence, limits)
