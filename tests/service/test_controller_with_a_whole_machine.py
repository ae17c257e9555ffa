"""A long day on a machine that drifts, seen through its controller's API alone.

The machine is the simulated QPU on a virtual clock, the controller its stand-in on loopback,
and the adapter the one that drives Pasqal's. The API says UP, DOWN and counts: that results
get worse with the age of a calibration, and are repaired by the next one, is in the counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import sqrt
from pathlib import Path

import pytest_asyncio

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, OutcomeKind
from qpu_executor.qpus.pasqal_controller.adapter import PasqalController, build
from qpu_executor.qpus.simulated import SimulatedQpu
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.testing.coins import Coins
from qpu_executor.testing.controller.faults import Faults
from qpu_executor.testing.controller.ledger import ExecutionLedger
from qpu_executor.testing.controller.server import StandInServer
from qpu_executor.testing.controller.whole_machine import WholeMachine
from qpu_executor.testing.probe import InlineNoise, pi_pulse
from qpu_executor.testing.virtual_clock import VirtualClock

SETTINGS = {
    "shot_rate_hz": 10,
    "setup_s": 1,
    "seed": 3,
    "calibration": {"by": "device", "every_s": [14000, 15000], "length_s": 900},
    "noise": {"detuning_per_h": 0.6, "readout_per_h": 0.02, "p_false_neg": 0.02},
}
SHOTS = 400
EVERY_S = 1200
DAY_S = 16 * 3600


@dataclass
class Day:
    """The machine behind its controller, and the adapter in front of it."""

    clock: VirtualClock
    machine: WholeMachine
    qpu: PasqalController
    numbers: count[int] = field(default_factory=count)

    async def begin(self, shots: int = SHOTS) -> ChunkId:
        """Send a probe; its shots are being taken afterwards, or it has ended."""
        chunk = ChunkId(1, next(self.numbers))
        await self.qpu.start(ChunkOrder(chunk, pi_pulse(), 0, shots, 7))
        await list(self.machine.jobs.values())[-1].begun.wait()
        return chunk

    async def probe(self) -> ChunkOutcome:
        """Its outcome, once its time has passed."""
        chunk = await self.begin()
        await self.clock.advance(SHOTS / 10 + 2)
        return await self.qpu.wait(chunk)


@pytest_asyncio.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    clock = VirtualClock()
    settings = SimulatedSettings.read("machine", SETTINGS)
    assert settings.noise is not None
    simulated = SimulatedQpu(
        "machine", settings, Coins("AnalogDevice"), InlineNoise(settings.noise.fluctuations)
    )
    machine = WholeMachine(simulated, clock, tmp_path, ExecutionLedger())
    server = StandInServer(machine, Faults())
    url = await server.start("127.0.0.1", 0)
    qpu = build("fresnel", {"url": url})
    await qpu.open(clock, tmp_path)
    yield Day(clock, machine, qpu)
    await qpu.close()
    await server.close()


async def test_results_get_worse_until_the_machine_calibrates_and_are_good_again(day: Day) -> None:
    epochs: list[list[int]] = [[]]
    passed_s = 0
    while passed_s < DAY_S:
        if (await day.qpu.health()).state is QpuState.DOWN:
            if epochs[-1]:
                epochs.append([])
            step_s = 60
        else:
            outcome = await day.probe()
            assert (outcome.kind, outcome.shots) == (OutcomeKind.FINISHED, SHOTS)
            epochs[-1].append(outcome.counts.get("1", 0))
            step_s = EVERY_S
        await day.clock.advance(step_s)
        passed_s += step_s
    whole = [probes for probes in epochs if len(probes) >= 8]
    assert len(whole) >= 2
    for before, after in pairwise(whole):
        assert errors_between(before[:3], before[-3:]) > 4, "it drifts"
        assert errors_between(after[:3], before[-3:]) > 4, "it is repaired"


def errors_between(good: list[int], bad: list[int]) -> float:
    """By how many standard errors the part of right shots differs (two proportions, pooled)."""
    shots = [SHOTS * len(good), SHOTS * len(bad)]
    parts = [sum(good) / shots[0], sum(bad) / shots[1]]
    pooled = (sum(good) + sum(bad)) / sum(shots)
    return (parts[0] - parts[1]) / sqrt(pooled * (1 - pooled) * (1 / shots[0] + 1 / shots[1]))


async def test_while_it_calibrates_it_is_not_operational_and_takes_no_job(day: Day) -> None:
    while (await day.qpu.health()).state is QpuState.UP:
        await day.clock.advance(60)
    health = await day.qpu.health()
    assert "isn't operational" in health.reason
    chunk = await day.begin()
    outcome = await day.qpu.wait(chunk)
    assert outcome.kind is OutcomeKind.FAULT
    assert "calibrating until" in outcome.message
    await day.clock.advance(900)
    assert (await day.probe()).kind is OutcomeKind.FINISHED


async def test_a_stopped_job_makes_room_for_the_next(day: Day) -> None:
    stopped = await day.begin()
    await day.qpu.stop(stopped)
    assert (await day.qpu.wait(stopped)).kind is OutcomeKind.STOPPED
    assert (await day.probe()).shots == SHOTS
    statuses = [job.status for job in day.machine.jobs.values()]
    assert statuses == ["CANCELED", "DONE"]
