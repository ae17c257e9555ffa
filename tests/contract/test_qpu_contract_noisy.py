"""A simulated machine with all of its troubles against the suite that third parties run."""

from collections.abc import Callable
from functools import partial

import pytest

from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject


@pytest.fixture(params=["noisy-machine"], scope="module")
def make(simulated_subject: Callable[..., Subject]) -> Callable[[], Subject]:
    loading = {"retry_s": 0.01, "atom_success": 0.99}
    noise = {"preset": "rough", "realisations": 2}
    faults = {"preset": "gentle", "chunk": 0}
    return partial(simulated_subject, "file", loading=loading, noise=noise, faults=faults)
