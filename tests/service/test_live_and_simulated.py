"""No policy lives in the simulator only: every one of them sends the same chunks live.

Each scenario is played three times: by a rehearsal, by a manager with simulated QPUs on a
virtual clock, and by a rehearsal of the journal that this manager wrote. All three send the
same chunks in the same order. And each is played once more under other rules, which must
make a difference: a scenario that shows none would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.rehearsed_site import recorded_site
from qpu_executor.cli.server_parts import build_scheduler, build_site_policy
from qpu_executor.manager.store.journal_file import read_chunk_qpus, read_journal
from qpu_executor.manager.store.records import ChunkRow
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.events import (
    Event,
    QpuDrained,
    QpuResumed,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskReleaseAsked,
    TaskStopAsked,
    WarmHoldAsked,
)
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.timing import Dependency, after
from qpu_executor.model.values import TaskSpec
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.settings import SiteSettings
from qpu_executor.settings.site import parse_site
from qpu_executor.simulation.engine import Rehearsal
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.record import ChunkSent
from qpu_executor.simulation.recording import (
    Asked,
    Effect,
    JournalEntry,
    Measured,
    Outage,
    RecordedTask,
    Recording,
    SiteAct,
)
from qpu_executor.simulation.recording_reader import read_recording
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.virtual_manager import START_AT, VirtualManager

SITE = """
manager: {{health_every_s: {health_every_s}}}
policy: {policy}
fair_share: {fair_share}
accounts: {accounts}
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 10, {production}}}
  development: {{priority: 100, chunk_s: 10, {development}}}
qpus:
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5, partial_results: true, {qpu}}}
  {more_qpus}
"""


@dataclass(frozen=True)
class New:
    """A task: submitted so many seconds after the start. Five shots take a second."""

    at_s: float
    shots: int
    job_class: str = "development"
    user: str = "ada"
    layout: str | None = None
    qpus: tuple[str, ...] = ("rehearsal",)
    priority: int = 0
    held: bool = False
    wishes: Wishes = NO_WISHES


@dataclass(frozen=True)
class Scenario:
    """`otherwise`: fields with other values, under which the order of chunks is another one.

    `acts`: what is asked of tasks and QPUs, as (seconds from the start, event). `outages`:
    those that the QPU's settings describe, as the rehearsal is told of them.
    `health_every_s`: short where the manager has to see the end of a calibration or an outage.
    """

    name: str
    tasks: tuple[New, ...]
    otherwise: dict[str, Any]
    policy: str = "banded"
    qpu: str = "switch_s: 2"
    production: str = "max_shots: 9000"
    development: str = "max_shots: 9000"
    fair_share: str = "{}"
    accounts: str = "{}"
    more_qpus: str = ""
    acts: tuple[tuple[float, Event], ...] = ()
    outages: tuple[Outage, ...] = ()
    lasts_s: float = 600.0
    health_every_s: int = 300

    def settings(self) -> SiteSettings:
        """The site file."""
        names = ("policy", "fair_share", "accounts", "production", "development", "qpu")
        words = {name: getattr(self, name) for name in (*names, "more_qpus", "health_every_s")}
        return parse_site(SITE.format(**words), self.name)

    def recording(self) -> Recording:
        """The causes."""
        settings = self.settings()
        tasks = tuple(self._task(n, one) for n, one in enumerate(self.tasks, start=1))
        return Recording(
            tasks=tasks,
            outages=self.outages,
            calibrations=(),
            acts=tuple(SiteAct(at, one) for at, one in self.acts if not hasattr(one, "task_id")),
            qpus={name: _measured(settings, name) for name in settings.qpus},
            shot_s=0.2,
            start_at=START_AT,
            end_at=after(START_AT, self.lasts_s),
        )

    def _task(self, n: int, one: New) -> RecordedTask:
        asked = [(at, act) for at, act in self.acts if getattr(act, "task_id", None) == n]
        spec = TaskSpec(
            n,
            owner=one.user,
            account=one.user,
            job_class=one.job_class,
            shots=one.shots,
            qpus=one.qpus,
            submitted_at=after(START_AT, one.at_s),
            priority=one.priority,
            held=one.held,
            timing=one.wishes.timing() if one.wishes else None,
            layout=one.layout,
            deadline_at=one.wishes.deadline_at,
        )
        return RecordedTask(
            spec,
            after=None,
            delay_s=one.at_s,
            shot_s={},
            asked=tuple(Asked(at - one.at_s, act) for at, act in asked),
        )


def _measured(settings: SiteSettings, name: str) -> Measured:
    """The timing of a simulated QPU, as a recording would tell it."""
    found = SimulatedSettings.read(name, settings.qpus[name].adapter_settings()).timing
    return Measured(1.0 / found.shot_rate_hz, found.setup_s, found.switch_s, found.layout_s)


def at(seconds: float) -> int:
    return after(START_AT, seconds)


THREE = (
    New(0, 100, user="ada"),
    New(1.5, 200, "production", user="bob"),
    New(2.5, 30, user="cyd"),
    New(3.5, 50, "production", user="dee"),
)
"""Two classes; in each the shorter task comes later."""

SCENARIOS = (
    Scenario("fifo", THREE, {"policy": "priority"}, policy="fifo"),
    Scenario("priority", THREE, {"policy": "banded"}, policy="priority"),
    Scenario("banded", THREE, {"policy": "fairshare"}),
    Scenario("critical-path", THREE, {"policy": "fifo"}, policy="critical-path"),
    Scenario(
        "weighted",
        (New(0, 50), New(1.5, 200, "production"), New(2.5, 30), New(3.5, 60)),
        {"policy": "{kind: weighted, weights: {production: 1}}"},
        policy="{kind: weighted, weights: {production: 5}}",
    ),
    Scenario(
        "fairshare",
        (New(0, 200), New(1.5, 100, user="bob"), New(2.5, 50), New(3.5, 50, user="cyd")),
        {"policy": "priority"},
        policy="fairshare",
    ),
    Scenario(
        "a class that may not be preempted",
        (New(0, 150), New(4.5, 50, "production")),
        {"development": "preemptible: true"},
        development="preemptible: false",
    ),
    Scenario(
        "a class that may not preempt",
        (New(0, 150), New(4.5, 50, "production")),
        {"production": "may_preempt: true"},
        production="may_preempt: false",
    ),
    Scenario(
        "minimum share",
        (New(0, 400, "production"), New(1.5, 200)),
        {"development": "min_share: 0"},
        development="min_share: 0.3",
    ),
    Scenario(
        "a band for who is above its share",
        (*(New(n + 0.5, 100) for n in range(4)), New(4.5, 150, user="bob")),
        {"fair_share": "{min_usage_s: 6000, band_up: 1.5, band_down: 1.2}"},
        fair_share="{min_usage_s: 20, band_up: 1.5, band_down: 1.2}",
    ),
    Scenario(
        "age",
        (New(0, 100), New(1.5, 400), *(New(2.5 + 15 * n, 60) for n in range(8))),
        {"policy": "banded"},
        policy="{kind: banded, age_cap_s: 60}",
    ),
    Scenario(
        "a deadline",
        (
            New(0, 100),
            New(1.5, 300, wishes=Wishes(deadline_at=at(100.0))),
            *(New(2.5 + 15 * n, 60) for n in range(8)),
        ),
        {"policy": "{kind: banded, deadline_margin: 0}"},
        policy="{kind: banded, deadline_margin: 1}",
    ),
    Scenario(
        "grouping of layouts",
        tuple(New(n + 0.5, 50, layout="ab"[n % 2]) for n in range(8)),
        {"qpu": "switch_s: 2, layout_s: 20"},
        qpu="switch_s: 2, layout_s: 20, layout_grouping: {chunks: 2, seconds: 500}",
    ),
    Scenario(
        "a calibration between epochs",
        (
            New(0, 600, wishes=Wishes(on_recalibration=OnRecalibration.RESTART)),
            New(1.5, 100, "production"),
            New(80.5, 100, "production", user="bob"),
        ),
        {"tasks": (New(0, 600), New(1.5, 100, "production"), New(80.5, 100, "production"))},
        qpu=(
            "calibration: {by: manager, every_s: 150, length_s: 30},"
            "calibration_plan: {period_s: 150, length_s: 30, starter: manager}"
        ),
        lasts_s=900.0,
        health_every_s=1,
    ),
    Scenario(
        "windows, and what fits before them",
        (
            New(0, 600),
            New(1.5, 100, user="bob", wishes=Wishes(time_limit_s=500)),
            New(45.5, 100, "production", user="eve"),
        ),
        {"qpu": "switch_s: 2, windows: []"},
        qpu=(
            "switch_s: 2, windows: ["
            '{name: crew, at: "08:01", on: 2027-01-15, length_s: 40},'
            '{name: course, kind: reservation, at: "08:02", on: 2027-01-15, length_s: 40,'
            " account: eve}]"
        ),
    ),
    Scenario(
        "a fallback for what would have to wait",
        (
            New(0, 200, qpus=("rehearsal", "stand-in")),
            New(1.5, 100, qpus=("rehearsal", "stand-in")),
            New(2.5, 100, "production"),
        ),
        {
            "development": "qpus: [rehearsal]",
            "tasks": (New(0, 200), New(1.5, 100), New(2.5, 100, "production")),
        },
        production="qpus: [rehearsal]",
        development="qpus: [rehearsal], fallback: [stand-in]",
        more_qpus="stand-in: {kind: simulated-qpu, shot_rate_hz: 2}",
    ),
    Scenario(
        "limits on what runs at once",
        tuple(
            New(n + 0.5, 100, user="ada" if n < 3 else "bob", qpus=("rehearsal", "stand-in"))
            for n in range(4)
        ),
        {"development": "max_running: 2"},
        development="max_running: 1",
        more_qpus="stand-in: {kind: simulated-qpu, shot_rate_hz: 2}",
    ),
    Scenario(
        "begin times and dependencies",
        (
            New(0, 100),
            New(1.5, 50, wishes=Wishes(begin_at=at(40.0))),
            New(2.5, 50, "production", wishes=Wishes(depends_on=(Dependency(2),))),
            New(3.5, 200),
        ),
        {"tasks": (New(0, 100), New(1.5, 50), New(2.5, 50, "production"), New(3.5, 200))},
    ),
    Scenario(
        "held, released, cancelled, stopped",
        (
            New(0, 200),
            New(1.5, 50, "production", held=True),
            New(2.5, 100),
            New(3.5, 50, user="bob"),
        ),
        {"acts": ()},
        acts=(
            (15.5, TaskHoldAsked(1)),
            (25.5, TaskReleaseAsked(2)),
            (42.5, TaskCancelAsked(3)),
            (62.5, TaskReleaseAsked(1)),
            (75.5, TaskStopAsked(1, "an operator")),
        ),
    ),
    Scenario(
        "a drained QPU",
        (New(0, 100), New(1.5, 50), New(30.5, 20, "production")),
        {"acts": ()},
        acts=((5.5, QpuDrained("rehearsal", "a look")), (100.5, QpuResumed("rehearsal"))),
    ),
    Scenario(
        "an outage that nobody foresaw",
        (New(0, 200), New(1.5, 100), New(70.5, 50, "production")),
        {"qpu": "switch_s: 0", "outages": ()},
        qpu="switch_s: 0, closed: [{after_s: 37, length_s: 60, reason: a leak}]",
        outages=(Outage("rehearsal", 37.0, 60.0, "a leak", Effect.STOPS),),
        health_every_s=1,
    ),
)


def rehearse(settings: SiteSettings, recording: Recording) -> list[ChunkSent]:
    """All chunks as a rehearsal sends them, under the site's own policy."""
    site, recording = recorded_site(settings, recording)
    policy = Policy("site", "", partial(build_scheduler, settings))
    return Rehearsal(recording, policy, site, 0, record_chunks=True).run().chunks


async def play_live(scenario: Scenario, directory: Path) -> list[ChunkSent]:
    """All chunks as a manager sends them."""
    settings = scenario.settings()
    async with VirtualManager(settings, build_site_policy(settings), directory) as served:
        todo = [*((one.at_s, one) for one in scenario.tasks), *scenario.acts]
        for at_s, what in sorted(todo, key=lambda one: one[0]):
            await served.pass_time(at_s)
            await do(served, scenario, what)
        await served.pass_time(scenario.lasts_s)
        assert not served.manager.live, "the scenario lasts longer"
        return sent(await served.chunks())


async def do(served: VirtualManager, scenario: Scenario, what: New | Event) -> None:
    match what:
        case New():
            await served.submit(
                coin_program(what.layout or "any"),
                what.shots,
                user=what.user,
                job_class=what.job_class,
                priority=what.priority,
                held=what.held,
                wishes=what.wishes,
            )
        case TaskHoldAsked(n) | TaskReleaseAsked(n) | TaskCancelAsked(n):
            verb = type(what).__name__.removeprefix("Task").removesuffix("Asked").lower()
            await served.ask(verb, n, user=scenario.tasks[n - 1].user)
        case _:
            await served.tell(what)


def replay(settings: SiteSettings, store: Path) -> tuple[Recording, list[ChunkSent]]:
    """The causes in a manager's journal, and all chunks that a rehearsal of them sends."""
    entries = (
        JournalEntry(row.at, row.kind, row.task_id, row.state, row.data)
        for row in read_journal(store)
    )
    recording = read_recording(entries, read_chunk_qpus(store))
    return recording, rehearse(settings, recording)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
async def test_a_manager_a_rehearsal_and_a_replay_send_the_same_chunks(
    scenario: Scenario, tmp_path: Path
) -> None:
    settings = scenario.settings()
    simulated = rehearse(settings, scenario.recording())
    other = replace(scenario, **scenario.otherwise)
    assert rehearse(other.settings(), other.recording()) != simulated

    live = await play_live(scenario, tmp_path)
    recording, replayed = replay(settings, tmp_path / "store.sqlite")

    assert live == simulated
    assert [one.spec for one in recording.tasks] == [one.spec for one in scenario.recording().tasks]
    assert replayed == simulated


def test_every_shipped_policy_has_a_scenario() -> None:
    found = {scenario.settings().policy.kind for scenario in SCENARIOS}

    assert found == {"fifo", "priority", "banded", "critical-path", "weighted", "fairshare"}
    assert {scenario.name for scenario in SCENARIOS} >= found


async def test_a_session_that_keeps_the_qpu_warm_is_replayed_with_its_think_time(
    tmp_path: Path,
) -> None:
    keeps = "switch_s: 2, keep_warm: {max_linger_s: 60, max_run_s: 600}"
    settings = Scenario("warm", (), {}, qpu=keeps).settings()
    async with VirtualManager(settings, build_site_policy(settings), tmp_path) as served:
        session = await served.open_session()
        await served.tell(WarmHoldAsked(session, "rehearsal", "ada", "ada", 30.0, at(500.0)))
        await served.submit(coin_program("any"), 50, session_id=session)
        await served.pass_time(1.5)
        await served.submit(coin_program("any"), 100, user="bob")
        await served.pass_time(25.5)
        await served.submit(coin_program("any"), 50, session_id=session)
        await served.pass_time(600)
        live = sent(await served.chunks())

    recording, replayed = replay(settings, tmp_path / "store.sqlite")

    assert [one.task_id for one in live] == [1, 3, 2, 2]
    # The first task ended at 12 s.
    assert [(one.after, one.delay_s) for one in recording.tasks[::2]] == [(None, 0.0), (1, 13.5)]
    assert replayed == live
    assert rehearse(settings, replace(recording, acts=())) != live


def sent(rows: Iterable[ChunkRow]) -> list[ChunkSent]:
    return [ChunkSent(row.qpu, row.task_id, row.n, row.shots, row.first_shot) for row in rows]
