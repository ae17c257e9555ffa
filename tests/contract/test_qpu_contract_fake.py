"""The fake QPU against the suite that third parties run."""

from collections.abc import Callable

import pytest

from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, DeviceDescription
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu, seeded_counts


def make_fake() -> Subject:
    capabilities = Capabilities(
        kinds=DEFAULT_CAPABILITIES.kinds, slots=2, can_ask=True, emulated=True, seeded=True
    )
    endless = Program("fake", "endless")
    qpu = FakeQpu(
        capabilities=capabilities,
        device=DeviceDescription("FakeDevice"),
        answer=lambda order: None if order.program == endless else seeded_counts(order),
    )
    qpu.atom_limit = 10
    programs = (Program("fake", "one"), Program("fake", "two"))
    return Subject(qpu, programs, endless, Program("unheard-of", "x"))


@pytest.fixture(params=[make_fake], ids=["fake"], scope="module")
def make(request: pytest.FixtureRequest) -> Callable[[], Subject]:
    return request.param
