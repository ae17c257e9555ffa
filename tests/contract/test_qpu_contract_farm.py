"""An emulator farm against the suite that third parties run.

It is a process of its own; its chunks go on when the manager leaves.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qpu_executor.qpus.base import QpuAdapter
from qpu_executor.qpus.emulator_farm import build
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.farm_process import farm_process


@pytest.fixture(scope="module")
def farm_url() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as directory,
        farm_process(Path(directory), {"workers": 2, "emulator": {"max_atoms": 14}}) as farm,
    ):
        yield farm.url


@pytest.fixture(params=["emulator-farm"], scope="module")
def make(farm_url: str, emulated_subject: Callable[[QpuAdapter], Subject]) -> Callable[[], Subject]:
    return lambda: replace(emulated_subject(build("farm", {"url": farm_url})), survives=True)
