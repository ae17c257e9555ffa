"""What of Pulser's emulation configurations a manager can keep, and what it can't.

A task gives the bitstrings of the end of its sequence. How a QPU that is an emulator works
(which program simulates, its precision, its noise) is set in the site's file, for all. So a
configuration may ask for final bitstrings and say how many; what would change the physics is
refused by name and not dropped.
"""

from __future__ import annotations

import warnings
from typing import Any

from pulser.backend import BitStrings
from pulser.backend.config import BackendConfig, EmulationConfig
from pulser.noise_model import NoiseModel

from qpu_executor.errors import RequestRefused

_HOW_FAST = frozenset(
    {
        *("autosave_dt", "autosave_prefix", "gpu", "log_file", "log_level", "num_gpus_to_use"),
        *("optimize_qubit_ordering", "progress_bar"),
    }
)
"""Options that change no result: the site's emulators have settings of their own for these."""

_KNOWN = frozenset(
    {
        *("callbacks", "default_evaluation_times", "default_num_shots", "initial_state"),
        *("interaction_matrix", "n_trajectories", "noise_model", "observables"),
        *("prefer_device_noise_model", "with_modulation"),
    }
)

_HERE = "leave it out, or run the emulator's local backend, which takes any configuration"


def emulator_wanted(device_type: object) -> bool:
    """True if a remote emulator backend asks for an emulator by this type; None asks nothing.

    Raises RequestRefused for the type of a QPU.
    """
    if device_type is None:
        return False
    name = str(getattr(device_type, "value", device_type))
    if not name.startswith("EMU_"):
        raise RequestRefused(
            f"the QPU of a job isn't chosen by the type {name!r}",
            where="device_type",
            next_step="name it: QPUConnection(qpu=...), or use the device of the sequence",
        )
    return True


def default_runs(config: BackendConfig | None) -> int | None:
    """Shots of a job that names none; None: the configuration doesn't say either.

    Raises RequestRefused for what no QPU of a manager can keep.
    """
    if config is None:
        return None
    if not isinstance(config, BackendConfig):
        raise _refused("backend_configuration", f"it is a {type(config).__name__}")
    if not isinstance(config, EmulationConfig):
        return config.default_num_shots
    options = config._backend_options
    for name, value in options.items():
        if name not in _KNOWN | _HOW_FAST and value is not None:
            raise _refused(name, "how an emulator works is set in the site's file")
    _refuse_other_physics(config)
    return _shots_of_bitstrings(config)


def _refuse_other_physics(config: EmulationConfig[Any]) -> None:
    if config.callbacks:
        raise _refused("callbacks", "they would have to run at the manager")
    if config.initial_state is not None:
        raise _refused("initial_state", "all atoms start in the ground state")
    if config.interaction_matrix is not None:
        raise _refused("interaction_matrix", "the device says how its atoms interact")
    if config.with_modulation:
        raise _refused("with_modulation", "emulators of a manager play the pulses as programmed")
    if config.noise_model != NoiseModel() or config.prefer_device_noise_model:
        which = "noise_model" if config.noise_model != NoiseModel() else "prefer_device_noise_model"
        raise _refused(which, "noise is the site's choice for each of its QPUs")
    if config.n_trajectories != 1:
        raise _refused("n_trajectories", "a task has shots")


def _shots_of_bitstrings(config: EmulationConfig[Any]) -> int:
    """How many bitstrings of the end are asked for, and nothing else."""
    for one in config.observables:
        if type(one) is not BitStrings:
            raise _refused("observables", f"{type(one).__name__}: a task gives bitstrings")
        own: Any = one.evaluation_times
        times: Any = config.default_evaluation_times if own is None else own
        if isinstance(times, str) or list(times) != [1.0]:
            raise _refused("observables", "bitstrings are those of the end (time 1.0)")
        if one.one_state is not None:
            raise _refused("observables", "which state is a 1 follows from the measured basis")
    if len(config.observables) != 1:
        raise _refused("observables", f"there are {len(config.observables)}; one BitStrings() can")
    (only,) = config.observables
    with warnings.catch_warnings():  # Pulser explains at each look what None means
        warnings.simplefilter("ignore", RuntimeWarning)
        asked = only.num_shots  # type: ignore[attr-defined]  # a BitStrings, as was looked at
    return int(asked or config.default_num_shots)


def _refused(name: str, why: str) -> RequestRefused:
    return RequestRefused(f"a manager can't keep {name!r} ({why})", where="config", next_step=_HERE)
