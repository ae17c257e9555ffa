"""A QPU that can't be opened closes itself alone; a manager without any doesn't start."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpu_executor.errors import DeviceError, OperatorError
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import OutcomeKind
from qpu_executor.qpus.closed import ClosedQpu
from qpu_executor.qpus.registry import interface_mismatch
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock


class Unopenable(FakeQpu):
    """Its package isn't there."""

    async def open(self, clock: Clock, directory: Path) -> None:
        raise OperatorError("the wheel isn't installed", next_step="pip install it")


def fleet_of(*adapters: FakeQpu) -> Fleet:
    return Fleet(Qpu(one.name, "fake", one) for one in adapters)


async def test_one_that_can_t_be_opened_is_down_with_its_reason_beside_one_that_is_up(
    tmp_path: Path,
) -> None:
    fleet = fleet_of(Unopenable("a"), FakeQpu("b"))
    await fleet.open(VirtualClock(0), tmp_path)
    closed, other = fleet.get("a"), fleet.get("b")
    assert closed.health.state is QpuState.DOWN
    assert "the wheel isn't installed; next: pip install it" in closed.health.reason
    assert closed.spec().state is QpuState.DOWN
    assert closed.capabilities.kinds == frozenset()
    assert other.health.state is QpuState.UP
    await fleet.close()


async def test_where_none_can_be_opened_the_first_says_why(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="the wheel isn't installed"):
        await fleet_of(Unopenable("a"), Unopenable("b")).open(VirtualClock(0), tmp_path)


async def test_an_earlier_manager_s_chunk_stays_unknown_there() -> None:
    closed = ClosedQpu(FakeQpu("a"), OperatorError("gone"))
    assert interface_mismatch(closed) is None
    found = await closed.ask(ChunkId(1, 0))
    assert found is not None
    assert (found.kind, "gone" in found.message) == (OutcomeKind.UNANSWERED, True)
    assert await closed.wait(ChunkId(1, 0)) == found
    with pytest.raises(DeviceError, match="QPU a: it couldn't be opened: gone"):
        await closed.calibrate()
