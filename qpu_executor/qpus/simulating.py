"""Simulates a program with Pulser's local emulator: what runs in a worker process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qpu_executor.errors import DeviceError, ProgramRefused
from qpu_executor.programs.device_rules import on_device
from qpu_executor.programs.program import Program
from qpu_executor.programs.refusals import one_sentence
from qpu_executor.qpus.emulator_backends import Backend, version_of
from qpu_executor.qpus.sampling import Distribution

ONE_STATES = {"ground-rydberg": "r", "digital": "h", "XY": "d"}
"""Measurement basis -> the eigenstate that is read as 1 (Pulser's convention)."""


def warm_up() -> None:
    """Import the emulator, so that the first simulation doesn't wait for that."""
    import_emulator()


def simulate(program: Program, device_json: str, max_atoms: int) -> Distribution:
    """The exact distribution of the bitstrings at the program's end, without noise.

    `max_atoms`: of two-level atoms; a program that addresses more levels is held
    to the same size of state.

    Raises ProgramRefused or ProgramError (the program's fault), or DeviceError.
    """
    return simulate_sequence(on_device(program, device_json), max_atoms)


def simulate_sequence(sequence: Any, max_atoms: int) -> Distribution:
    """The same for a measured `pulser.Sequence` whose device's rules are kept."""
    import numpy as np

    refuse_large_state(sequence, max_atoms)
    state = _final_state(sequence)
    one_state = ONE_STATES[sequence.get_measurement_basis()]
    found = state.bitstring_probabilities(one_state=one_state)
    ordered = sorted(found)
    weights = np.array([found[one] for one in ordered], dtype=np.float64)
    return Distribution(
        width=len(ordered[0]),
        bitstrings="".join(ordered).encode("ascii"),
        probabilities=(weights / weights.sum()).tobytes(),
        versions=(version_of(Backend.QUTIP),),
    )


def refuse_large_state(sequence: Any, max_atoms: int) -> None:
    """Raises ProgramRefused for a state larger than that of `max_atoms` two-level atoms."""
    atoms = len(sequence.get_register().qubit_ids)
    levels = len(sequence.get_addressed_states())
    if levels**atoms > 2**max_atoms:
        raise ProgramRefused(
            f"{atoms} atoms with {levels} levels each need a state of {levels}^{atoms} amplitudes; "
            f"this emulator holds at most 2^{max_atoms}",
            rule="emulator_max_atoms",
        )


@contextmanager
def emulator_errors() -> Iterator[None]:
    """The emulator's errors as ProgramRefused or DeviceError, and none of its warnings."""
    with warnings.catch_warnings():
        # Of Pulser and QuTiP, about their own future; a program's author can't act on them.
        warnings.simplefilter("ignore")
        try:
            yield
        except (ValueError, TypeError, NotImplementedError) as error:
            raise ProgramRefused(
                f"the emulator can't run the program: {one_sentence(error)}", rule="emulator"
            ) from None
        except Exception as error:
            # As an error of ours, since not all of theirs survive pickling.
            raise DeviceError(f"{type(error).__name__}: {one_sentence(error)}") from None


def _final_state(sequence: Any) -> Any:
    pulser_simulation, state_result = import_emulator()
    with emulator_errors():
        config = pulser_simulation.QutipConfig(observables=[state_result(evaluation_times=[1.0])])
        results = pulser_simulation.QutipBackendV2(sequence, config=config).run()
    return results.get_result("state", 1.0)


def import_emulator() -> tuple[Any, Any]:
    """`pulser_simulation`, and Pulser's `StateResult`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pulser_simulation
        from pulser.backend import StateResult
    return pulser_simulation, StateResult
