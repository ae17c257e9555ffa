"""The simulated QPU against the suite that third parties run."""

from collections.abc import Callable

import pytest

from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject


@pytest.fixture(params=["simulated-qpu"], scope="module")
def make(simulated_subject: Callable[..., Subject]) -> Callable[[], Subject]:
    return simulated_subject
