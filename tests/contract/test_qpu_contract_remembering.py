"""The simulated QPU with a memory (its chunks go on) against the suite that third parties run."""

from collections.abc import Callable
from functools import partial

import pytest

from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject


@pytest.fixture(params=["simulated-qpu-with-memory"], scope="module")
def make(simulated_subject: Callable[..., Subject]) -> Callable[[], Subject]:
    return partial(simulated_subject, memory="file")
