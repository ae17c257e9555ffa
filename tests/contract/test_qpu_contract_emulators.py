"""Our emulators against the suite that third parties run."""

from collections.abc import Callable

import pytest

from qpu_executor.qpus.base import QpuAdapter
from qpu_executor.qpus.pulser_emulator import build
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject


def make_emulator(backend: str = "auto", workers: int = 2) -> QpuAdapter:
    return build("emu", {"workers": workers, "max_atoms": 14, "backend": backend})


def make_emu_sv() -> QpuAdapter:
    return make_emulator("emu-sv", workers=1)


def make_emu_mps() -> QpuAdapter:
    return make_emulator("emu-mps", workers=1)


@pytest.fixture(
    params=[
        make_emulator,
        pytest.param(make_emu_sv, marks=pytest.mark.torch),
        pytest.param(make_emu_mps, marks=pytest.mark.torch),
    ],
    ids=["pulser-emulator", "emu-sv", "emu-mps"],
    scope="module",
)
def make(
    request: pytest.FixtureRequest, emulated_subject: Callable[[QpuAdapter], Subject]
) -> Callable[[], Subject]:
    return lambda: emulated_subject(request.param())
