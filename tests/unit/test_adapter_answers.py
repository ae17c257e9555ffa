"""Answers of adapters that don't keep to their contract cost a chunk or a QPU, not the manager."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.manager.service.adapter_answers import (
    sound_description,
    sound_health,
    sound_outcome,
)
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.model.states import QpuState
from qpu_executor.qpus.base import (
    CalibrationStatus,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

FIVE: Any = Fraction(5)
"""A number that is none of the built-in types, as numpy's are."""
UP, FINISHED = QpuState.UP, OutcomeKind.FINISHED


def test_numbers_of_other_types_are_taken_for_what_they_are_worth() -> None:
    said = ChunkOutcome(FINISHED, {"0": FIVE, "1": 2**70}, FIVE, -1e-9, started_at=FIVE)
    found = sound_outcome(said)
    assert found == ChunkOutcome(FINISHED, {"0": 5, "1": 2**70}, 5.0, 0.0, started_at=5)
    assert [type(one) for one in (*found.counts.values(), found.device_s, found.started_at)] == [
        int,
        int,
        float,
        int,
    ]
    status = sound_health(Health(UP, calibration=CalibrationStatus("e", quality=FIVE))).calibration
    assert status is not None
    assert type(status.quality) is float


ODD: Any = object()


@pytest.mark.parametrize(
    "said",
    [
        ODD,
        ChunkOutcome(ODD),
        ChunkOutcome(FINISHED, counts=ODD),
        ChunkOutcome(FINISHED, counts={ODD: 1}),
        ChunkOutcome(FINISHED, counts={"0": ODD}),
        ChunkOutcome(FINISHED, counts={"0": FIVE / 2}),
        ChunkOutcome(FINISHED, counts={"0": -1}),
        ChunkOutcome(FINISHED, counts={"0": "1"}),  # type: ignore[dict-item]
        ChunkOutcome(FINISHED, device_s=math.nan),
        ChunkOutcome(FINISHED, setup_s=math.inf),
        ChunkOutcome(FINISHED, ended_at=ODD),
        ChunkOutcome(FINISHED, health=Health(ODD)),
        ChunkOutcome(FINISHED, health=Health(UP, until=ODD)),
        ChunkOutcome(FINISHED, health=Health(UP, calibration=ODD)),
        ChunkOutcome(FINISHED, health=Health(UP, calibration=CalibrationStatus("e", due_at=ODD))),
    ],
)
def test_outcome_that_can_t_be_is_named(said: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        sound_outcome(said)


@pytest.mark.parametrize("said", [ODD, DeviceDescription(ODD), DeviceDescription("d", ODD)])
def test_description_that_can_t_be_is_named(said: Any) -> None:
    with pytest.raises(TypeError, match="device"):
        sound_description(said)


@pytest.mark.parametrize("call", ["health", "describe"])
async def test_qpu_that_answers_nonsense_when_it_is_opened_is_down(call: str) -> None:
    async def nonsense() -> Any:
        return "fine"

    qpu = FakeQpu("q")
    setattr(qpu, call, nonsense)
    fleet = Fleet([Qpu("q", "fake", qpu), Qpu("r", "fake", FakeQpu("r"))])
    await fleet.open(VirtualClock(), Path())
    found = fleet.get("q")
    assert found.health.state is QpuState.DOWN
    assert "TypeError" in found.health.reason
    assert found.spec().state is QpuState.DOWN
    assert fleet.get("r").health.state is UP
    await fleet.close()
