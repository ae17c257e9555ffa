import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from qpu_executor.qpus.sampling import Distribution, sample

WEIGHTS = {"000": 0.4, "001": 0.3, "010": 0.2, "111": 0.1}


def distribution(weights=WEIGHTS):
    names = sorted(weights)
    return Distribution(
        len(names[0]),
        "".join(names).encode(),
        np.array([weights[name] for name in names]).tobytes(),
    )


@given(
    seed=st.integers(0, 2**64),
    first=st.integers(0, 2**40),
    parts=st.lists(st.integers(1, 400), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_any_partition_of_the_shots_gives_the_same_counts(seed, first, parts):
    whole = sample(distribution(), seed=seed, first_shot=first, shots=sum(parts))
    split: Counter[str] = Counter()
    at = first
    for part in parts:
        split += sample(distribution(), seed=seed, first_shot=at, shots=part)
        at += part
    assert split == whole
    assert whole.total() == sum(parts)


def test_a_partition_across_the_block_size_gives_the_same_counts():
    shots = 2**18 + 1000
    whole = sample(distribution(), seed=1, first_shot=0, shots=shots)
    split = sample(distribution(), seed=1, first_shot=0, shots=999) + sample(
        distribution(), seed=1, first_shot=999, shots=shots - 999
    )
    assert split == whole


def test_different_seeds_give_different_counts():
    found = {
        tuple(sorted(sample(distribution(), seed=seed, first_shot=0, shots=5000).items()))
        for seed in range(20)
    }
    assert len(found) == 20


def test_consecutive_shots_of_one_seed_are_different_draws():
    first = [next(iter(sample(distribution(), seed=5, first_shot=i, shots=1))) for i in range(100)]
    assert len(set(first)) > 2


@pytest.mark.parametrize("seed", range(5))
def test_counts_follow_the_distribution(seed):
    shots = 100_000
    counts = sample(distribution(), seed=seed, first_shot=0, shots=shots)
    names = sorted(WEIGHTS)
    found = chisquare([counts[n] for n in names], [WEIGHTS[n] * shots for n in names])
    assert found.pvalue > 1e-4


def test_a_certain_outcome_is_always_drawn():
    assert sample(distribution({"01": 1.0}), seed=3, first_shot=0, shots=10) == {"01": 10}


def test_a_million_shots_take_less_than_a_second():
    began = time.perf_counter()
    counts = sample(distribution(), seed=3, first_shot=0, shots=1_000_000)
    assert counts.total() == 1_000_000
    assert time.perf_counter() - began < 1.0
