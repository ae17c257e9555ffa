"""Simulates a sequence with emu-sv or emu-mps: what runs in a worker process.

Both give the final state, and shots are drawn from it here: their own sampling uses
generators that know of no shot numbers.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from qpu_executor.errors import DeviceError, ProgramRefused
from qpu_executor.programs.refusals import one_sentence
from qpu_executor.qpus.emulator_backends import Backend, version_of
from qpu_executor.qpus.emulator_choice import EmulationLimits
from qpu_executor.qpus.emulator_costs import STEP_NS
from qpu_executor.qpus.matrix_product import MatrixProduct, from_tensors
from qpu_executor.qpus.sampling import Distribution

R = TypeVar("R")

_ORDERED_ABOVE = 14
"""Atoms from which on emu-mps looks for a better order of its sites: that takes seconds, and
below, no order makes a bond dimension that would take as long.
"""


def simulate_vector(sequence: Any, limits: EmulationLimits) -> Distribution:
    """The distribution of the bitstrings at the end of a sequence, by emu-sv, without noise.

    Raises ProgramRefused (emu-sv says that it can't) or DeviceError.
    """
    return _translated("emu-sv", lambda: _vector(sequence, limits))


def simulate_product(sequence: Any, limits: EmulationLimits) -> MatrixProduct:
    """The state at the end of a sequence, by emu-mps, without noise; raises as above.

    Approximate: emu-mps cuts the state at its precision (1e-5), and harder where the bond
    dimension reaches its bound, which `versions` then says.
    """
    return _translated("emu-mps", lambda: _product(sequence, limits))


def import_emulator(backend: Backend) -> None:
    """Import emu-sv or emu-mps, which takes seconds, so that no chunk waits for that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if backend is Backend.EMU_SV:
            import emu_sv  # noqa: F401
        elif backend is Backend.EMU_MPS:
            import emu_mps  # noqa: F401


def _translated(name: str, run: Callable[[], R]) -> R:
    with warnings.catch_warnings():
        # Of the emulators, about their own future; a program's author can't act on them.
        warnings.simplefilter("ignore")
        try:
            return run()
        except (AssertionError, ValueError, TypeError, NotImplementedError) as error:
            # How these two say that they don't do something.
            raise ProgramRefused(
                f"{name} can't run the program: {one_sentence(error)}",
                rule="emulator",
                next_step="choose another backend in the site file, or another QPU (`qpu info`)",
            ) from None
        except Exception as error:
            # As an error of ours, since not all of theirs survive pickling.
            raise DeviceError(f"{type(error).__name__}: {one_sentence(error)}") from None


def _vector(sequence: Any, limits: EmulationLimits) -> Distribution:
    import emu_sv
    import torch
    from pulser.backend import StateResult

    torch.set_num_threads(limits.threads)
    config = emu_sv.SVConfig(
        dt=STEP_NS,
        observables=[StateResult(evaluation_times=[1.0])],
        gpu=limits.gpu,
        log_level=logging.ERROR,
    )
    state = emu_sv.SVBackend(sequence, config=config).run().get_result("state", 1.0)
    # The first atom is the leftmost bit, and r is read as 1.
    weights = (state.data.abs() ** 2).cpu().numpy()
    return Distribution(
        width=state.n_qudits,
        bitstrings=b"",
        probabilities=(weights / weights.sum()).tobytes(),
        versions=(version_of(Backend.EMU_SV),),
    )


def _product(sequence: Any, limits: EmulationLimits) -> MatrixProduct:
    import emu_mps
    import torch

    torch.set_num_threads(limits.threads)
    # It orders the atoms by its own random draws; the same ones every time.
    torch.manual_seed(0)
    seen: list[tuple[Any, tuple[Any, ...]]] = []
    config = emu_mps.MPSConfig(
        dt=STEP_NS,
        observables=[_last_state(seen)],
        gpu=limits.gpu,
        max_bond_dim=limits.max_bond_dim,
        optimize_qubit_ordering=len(sequence.get_register().qubit_ids) > _ORDERED_ABOVE,
        log_level=logging.ERROR,
    )
    emu_mps.MPSBackend(sequence, config=config).run()
    state, atoms = seen[-1]
    state.orthogonalize(0)
    reached = state.get_max_bond_dim()
    cut = ", reached: cut" if reached >= limits.max_bond_dim else ""
    places = {atom: place for place, atom in enumerate(sequence.get_register().qubit_ids)}
    return from_tensors(
        [one.cpu().numpy() for one in state.factors],
        [places[atom] for atom in atoms],
        (
            version_of(Backend.EMU_MPS),
            ("emu-mps bond dimension", f"{reached} (bound {limits.max_bond_dim}{cut})"),
        ),
    )


def _last_state(seen: list[tuple[Any, tuple[Any, ...]]]) -> Any:
    """An observer of the last step, which puts the state and its atoms, in the order of the
    sites, into `seen` (it is copied itself).
    """
    from pulser.backend.observable import AggregationMethod, Observable

    class LastState(Observable):
        @property
        def _base_tag(self) -> str:
            # emu-mps orders the atoms to its liking only for observables that it can put
            # in order again; like bitstrings, this one can be.
            return "bitstrings"

        def __call__(
            self, config: Any, t: float, state: Any, hamiltonian: Any, result: Any
        ) -> None:
            seen.append((state, tuple(result.atom_order)))

        def apply(self, **_: Any) -> None:
            raise NotImplementedError

    return LastState(evaluation_times=[1.0], default_aggregation_method=AggregationMethod.SKIP)
