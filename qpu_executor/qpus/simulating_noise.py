"""Simulates a program on a QPU that isn't quite as it should be: runs in a worker process.

Three layers, by what they cost. How far the QPU is off its settings (drift) is put into
the pulses, exactly. What differs from shot to shot (Pulser's `NoiseModel`: atoms that
move, lasers that fluctuate) is averaged over a few realisations. Misread atoms need no
simulation: `misread` draws them for every shot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qpu_executor.programs.device_rules import on_device
from qpu_executor.programs.program import Program
from qpu_executor.qpus.sampling import Distribution, sampled_blocks
from qpu_executor.qpus.simulating import (
    ONE_STATES,
    emulator_errors,
    import_emulator,
    refuse_large_state,
)

_MISREAD_KEY = 1 << 64
"""Set apart from the seed's own draws in the upper half of Philox's key of 128 bits."""
_SEEDS = 1 << 64
_WORDS = 4
"""Random words that Philox gives for one count of its counter."""
_SEED_OF_NUMPY = 1 << 32


@dataclass(frozen=True, slots=True)
class Fluctuations:
    """What differs from shot to shot, as in Pulser's `NoiseModel` and in its units.

    `temperature`: of the atoms, uK. `amp_sigma`: relative, of a pulse's amplitude.
    `detuning_sigma`: rad/us. `laser_waist`: um (None: as wide as the register). 0: none.
    `realisations`: so many draws of them all stand for every shot. `seed`: of those.
    """

    temperature: float = 0.0
    amp_sigma: float = 0.0
    detuning_sigma: float = 0.0
    laser_waist: float | None = None
    realisations: int = 8
    seed: int = 0

    @property
    def model(self) -> dict[str, Any]:
        """The fields of a `NoiseModel` that aren't zero."""
        counts = ("realisations", "seed")
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: value for key, value in named.items() if value and key not in counts}


def simulate_noisy(
    program: Program,
    device_json: str,
    max_atoms: int,
    fluctuations: Fluctuations,
    deviation: tuple[float, float],
) -> Distribution:
    """The distribution of a program's bitstrings, before they are read out.

    `deviation`: detuning (rad/us) that is added on the Rydberg channels, and the factor of
    the amplitudes on all but detuning-map channels. Raises as `simulate` does.
    """
    sequence = on_device(program, device_json)
    refuse_large_state(sequence, max_atoms)
    with emulator_errors():
        seen = _realised(sequence, fluctuations, deviation)
    ordered = sorted(set().union(*seen))
    weights = np.array([sum(one.get(bits, 0.0) for one in seen) for bits in ordered])
    return Distribution(
        width=len(ordered[0]),
        bitstrings="".join(ordered).encode("ascii"),
        probabilities=(weights / weights.sum()).tobytes(),
    )


def misread(
    distribution: Distribution,
    *,
    seed: int,
    first_shot: int,
    shots: int,
    p_false_pos: float,
    p_false_neg: float,
) -> Counter[str]:
    """The counts of shots, each atom of each misread with these probabilities.

    Shot and misreadings of number i follow from (seed, i) alone.
    """
    bits = _bits(distribution)
    found: Counter[str] = Counter()
    for start, drawn in sampled_blocks(distribution, seed=seed, first_shot=first_shot, shots=shots):
        # A thousand shots at a time, for memory: a row of random numbers for each.
        for begin in range(0, len(drawn), 1024):
            true = bits[drawn[begin : begin + 1024]]
            chances = _chances(seed, start + begin, *true.shape)
            read = true ^ (chances < np.where(true, p_false_neg, p_false_pos))
            found.update((row + ord("0")).tobytes().decode("ascii") for row in read.astype("u1"))
    return found


def _realised(
    sequence: Any, fluctuations: Fluctuations, deviation: tuple[float, float]
) -> list[dict[str, float]]:
    """Bitstring probabilities at the end, one mapping per realisation."""
    import pulser

    pulser_simulation, _ = import_emulator()
    samples = _as_they_are(pulser.sampler.sample(sequence), deviation)
    seen: list[dict[str, float]] = []
    noise = pulser.NoiseModel(**fluctuations.model)
    config = pulser_simulation.QutipConfig(
        observables=[_at_the_end(seen, ONE_STATES[sequence.get_measurement_basis()])],
        noise_model=noise,
        n_trajectories=1,
    )
    for n in range(fluctuations.realisations if fluctuations.model else 1):
        # One by one: the emulator's own mean of several is a matrix of 4^atoms numbers.
        with _seeded(fluctuations.seed * 1_000_003 + n):
            pulser_simulation.QutipBackendV2.run_from_sequence_samples(
                samples, sequence.register, sequence.device, config=config
            )
    return seen


def _as_they_are(samples: Any, deviation: tuple[float, float]) -> Any:
    """The pulses that the atoms see, where the QPU is off by this."""
    from pulser.channels.dmm import DMM

    detuning, amplitude = deviation
    changed = []
    for name, one in samples.channel_samples.items():
        channel = samples._ch_objs[name]
        if isinstance(channel, DMM):
            changed.append(one)
            continue
        offset = detuning if channel.basis == "ground-rydberg" else 0.0
        changed.append(replace(one, amp=one.amp * amplitude, det=one.det + offset))
    return replace(samples, samples_list=changed)


def _at_the_end(seen: list[dict[str, float]], one_state: str) -> Any:
    """An observer that puts the last state's probabilities into `seen` (it is copied itself).

    No callback, for which the emulator would stop at every nanosecond; and no `StateResult`,
    which comes as a matrix of 4^atoms numbers where there is noise.
    """
    from pulser.backend.observable import AggregationMethod, Observable

    class AtTheEnd(Observable):
        @property
        def _base_tag(self) -> str:
            return "at_the_end"

        def __call__(
            self, config: Any, t: float, state: Any, hamiltonian: Any, result: Any
        ) -> None:
            if abs(t - 1.0) < 1e-6:
                seen.append(dict(state.bitstring_probabilities(one_state=one_state)))

        def apply(self, **_: Any) -> None:
            raise NotImplementedError

    return AtTheEnd(evaluation_times=[1.0], default_aggregation_method=AggregationMethod.SKIP)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Pulser draws from numpy's global generator; nobody else notices."""
    before = np.random.get_state()
    np.random.seed(seed % _SEED_OF_NUMPY)
    try:
        yield
    finally:
        np.random.set_state(before)


def _bits(distribution: Distribution) -> npt.NDArray[np.bool_]:
    """The bitstrings as a boolean array of shape (bitstrings, atoms)."""
    letters = np.frombuffer(distribution.bitstrings, dtype=np.uint8)
    ones: npt.NDArray[np.bool_] = letters.reshape(-1, distribution.width) == ord("1")
    return ones


def _chances(seed: int, first_shot: int, shots: int, atoms: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) of shape (shots, atoms); a shot's are those of its number."""
    counts = -(-atoms // _WORDS)
    generator = np.random.Philox(key=seed % _SEEDS + _MISREAD_KEY, counter=first_shot * counts)
    words = generator.random_raw(shots * counts * _WORDS).reshape(shots, -1)[:, :atoms]
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
