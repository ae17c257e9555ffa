"""A controller that errs, hangs, lies and forgets: no shot is lost, none is taken twice.

The stand-in's own ledger is the witness. It runs in this process, on a port of its own,
so that a test can look into it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError, ManagerUnreachable, ProgramRefused
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, OutcomeKind
from qpu_executor.qpus.pasqal_controller import following
from qpu_executor.qpus.pasqal_controller.adapter import PasqalController
from qpu_executor.qpus.pasqal_controller.preparing import Preparing
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings
from qpu_executor.testing.coins import Coins
from qpu_executor.testing.controller.faults import Faults
from qpu_executor.testing.controller.ledger import ExecutionLedger, executed_by_mark
from qpu_executor.testing.controller.machine import ControllerMachine
from qpu_executor.testing.controller.server import StandInServer
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.testing.virtual_clock import VirtualClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASKS = itertools.count(1)
PATIENT = {"answer_s": 30, "accept_s": 30, "silence_s": 0.2}
"""No answer that does come is too late, however busy the host is."""
HASTY = {"accept_s": 0.4}
"""For jobs whose acceptance doesn't come in time; `rig.known` before, where it matters."""


class Shared(Preparing):
    """One worker process for all adapters of this module."""

    async def close(self) -> None:
        """It stays."""


class Rig:
    """A stand-in, and adapters for it with a directory of their own."""

    def __init__(self, server: StandInServer, url: str, directory: Path, shared: Shared) -> None:
        self.server = server
        self.machine = server.machine
        self.directory = directory
        self._url = url
        self._shared = shared
        self._opened: list[PasqalController] = []

    async def qpu(
        self, directory: Path | None = None, clock: Clock | None = None, **settings: Any
    ) -> PasqalController:
        read = ControllerSettings.read("fresnel", {"url": self._url, **PATIENT, **settings})
        found = PasqalController("fresnel", read, self._shared)
        self._opened.append(found)
        await found.open(clock or SystemClock(), directory or self.directory)
        return found

    async def known(self, one: ChunkOrder) -> None:
        """Let a patient adapter have seen the device, and run one job."""
        qpu = await self.qpu()
        assert (await run(qpu, one)).shots == one.shots
        await qpu.close()

    def fault(self, **one: Any) -> None:
        self.server.faults.switch([one])

    def well(self) -> None:
        self.server.faults.switch([])

    @property
    def posts(self) -> int:
        return self.server.requests["create"]

    @property
    def executed(self) -> list[int]:
        """Shots of each mark, in jobs that were done."""
        return list(executed_by_mark(self.machine.ledger.lines).values())

    async def close(self) -> None:
        for one in self._opened:
            await one.close()


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[Shared]:
    preparing = Shared()
    await preparing.open()
    yield preparing
    await Preparing.close(preparing)


@pytest_asyncio.fixture(loop_scope="module")
async def rig(shared: Shared, tmp_path: Path) -> AsyncIterator[Rig]:
    machine = ControllerMachine(Coins("AnalogDevice"), ExecutionLedger())
    machine.change({"shot_s": 0.001})
    server = StandInServer(machine, Faults())
    url = await server.start("127.0.0.1", 0)
    rig = Rig(server, url, tmp_path, shared)
    yield rig
    await rig.close()
    await server.close()


@pytest.fixture
def order(program: Program) -> Callable[..., ChunkOrder]:
    def make(shots: int = 10) -> ChunkOrder:
        return ChunkOrder(ChunkId(next(TASKS), 0), program, 0, shots, 7)

    return make


Order = Callable[..., ChunkOrder]


async def run(qpu: PasqalController, one: ChunkOrder) -> ChunkOutcome:
    await qpu.start(one)
    return await qpu.wait(one.chunk)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is true; the test's own time limit is the limit."""
    while not await true():  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.01)


async def delivered(qpu: PasqalController, order: Order) -> ChunkOutcome:
    """Five shots, as the dispatcher gets them: asked about, and repeated once it is proven."""
    while True:
        one = order(5)
        with suppress(ManagerUnreachable):
            await qpu.start(one)
        found = await settled(qpu, one.chunk)
        if found.kind is not OutcomeKind.NOT_KNOWN:
            return found


async def settled(qpu: PasqalController, chunk: ChunkId) -> ChunkOutcome:
    """What becomes of a chunk that is asked about, as the dispatcher does."""
    while True:
        found = await qpu.ask(chunk) or await qpu.wait(chunk)
        if found.kind is not OutcomeKind.UNANSWERED:
            return found
        await asyncio.sleep(0.02)


def written_before_the_last_boot(record: Path) -> None:
    """Let a record look as if the host had been started anew since."""
    head, _, rest = record.read_bytes().partition(b"\n")
    first = json.loads(head)
    record.write_bytes(json.dumps({**first, "boot": "another"}).encode() + b"\n" + rest)


# -- errors and silence ---------------------------------------------------------


async def test_a_third_of_all_answers_500_every_shot_is_taken_once(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    await run(qpu, order(5))
    rig.server.faults.switch(
        [
            {"do": "status", "probability": 0.15},
            {"do": "status", "probability": 0.15, "handled": True},
        ]
    )
    for _ in range(20):
        assert (await delivered(qpu, order)).shots == 5
    assert rig.executed == [5] * 21
    assert len(rig.machine.ledger.lines) == 42


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "status"},
        {"do": "status", "status": 503},
        {"do": "drop"},
        {"do": "hang"},
        {"do": "html"},
        {"do": "garbage"},
        {"do": "status", "status": 502},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_accepted_but_the_answer_is_lost_the_job_is_found_by_its_mark(
    rig: Rig, order: Order, fault: dict[str, Any]
) -> None:
    await rig.known(order())
    qpu = await rig.qpu(**HASTY)
    rig.fault(on=["create"], handled=True, times=1, **fault)
    assert (await run(qpu, order())).shots == 10
    assert rig.posts == 2
    assert rig.executed == [10, 10]


async def test_an_error_of_the_controller_itself_is_proof_and_it_is_sent_again(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    await run(qpu, order())
    rig.fault(on=["create"], do="status", times=2)
    assert (await run(qpu, order())).shots == 10
    assert rig.posts == 4
    assert rig.executed == [10, 10]


async def test_where_no_number_was_known_before_even_an_error_proves_nothing(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    rig.fault(on=["create"], do="status", times=1)
    one = order()
    with pytest.raises(ManagerUnreachable, match="no number of a job there was known before"):
        await qpu.start(one)
    assert rig.posts == 1


async def test_errors_without_end_are_a_device_error_and_nothing_ran(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    await run(qpu, order())
    rig.fault(on=["create"], do="status")
    one = order()
    with pytest.raises(DeviceError, match="HTTP 500"):
        await qpu.start(one)
    found = await qpu.ask(one.chunk)
    assert found is not None
    assert found.kind is OutcomeKind.NOT_KNOWN
    assert rig.executed == [10]


@pytest.mark.parametrize("do", ["drop", "hang", "html"])
async def test_an_answer_that_proves_nothing_leaves_the_chunk_unknown(
    rig: Rig, order: Order, do: str
) -> None:
    qpu = await rig.qpu(**HASTY)
    rig.fault(on=["create"], do=do, times=1)
    one = order()
    with pytest.raises(ManagerUnreachable):
        await qpu.start(one)
    for _ in range(3):
        found = await qpu.ask(one.chunk)
        assert found is not None
        assert found.kind is OutcomeKind.UNANSWERED
    assert rig.posts == 1
    assert rig.machine.ledger.lines == []


async def test_an_error_is_remembered_as_proof_while_nobody_answers_questions(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    await run(qpu, order())
    rig.server.faults.switch([{"on": ["create"], "do": "status"}, {"on": ["job"], "do": "drop"}])
    one = order()
    with pytest.raises(ManagerUnreachable, match="HTTP 500"):
        await qpu.start(one)
    rig.well()
    assert (await settled(qpu, one.chunk)).kind is OutcomeKind.NOT_KNOWN
    assert rig.posts == 2


async def test_unless_the_site_says_when_it_is_given_up(rig: Rig, order: Order) -> None:
    clock = VirtualClock()
    qpu = await rig.qpu(clock=clock, lost_after_s=5)
    rig.fault(on=["create"], do="drop", times=1)
    one = order()
    with pytest.raises(ManagerUnreachable):
        await qpu.start(one)
    first = await qpu.ask(one.chunk)
    assert first is not None
    assert first.kind is OutcomeKind.UNANSWERED
    await clock.advance(5)
    assert (await settled(qpu, one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_slow_acceptance_is_one_execution(rig: Rig, order: Order) -> None:
    await rig.known(order())
    qpu = await rig.qpu(**HASTY)
    rig.fault(on=["create"], do="slow", delay_s=4.0, times=1)
    one = order()
    with pytest.raises(ManagerUnreachable):
        await qpu.start(one)
    assert (await settled(qpu, one.chunk)).shots == 10
    assert rig.posts == 2
    assert rig.executed == [10, 10]


@pytest.mark.parametrize("do", ["status", "drop", "hang", "html", "garbage"])
async def test_looks_that_fail_are_repeated(rig: Rig, order: Order, do: str) -> None:
    if do == "hang":
        await rig.known(order())
        before, settings = [10], {"answer_s": 0.3}
    else:
        before, settings = [], {}
    qpu = await rig.qpu(**{**settings, "silence_s": 30})
    rig.fault(on=["job"], do=do, times=2)
    assert (await run(qpu, order())).kind is OutcomeKind.FINISHED
    assert rig.executed == [*before, 10]


async def test_a_long_silence_is_told_and_the_job_is_followed_on(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    rig.fault(on=["job"], do="drop")
    one = order(200)
    await qpu.start(one)
    assert (await qpu.wait(one.chunk)).kind is OutcomeKind.UNANSWERED
    asked = await qpu.ask(one.chunk)
    assert asked is not None
    assert asked.kind is OutcomeKind.UNANSWERED
    rig.well()
    assert (await settled(qpu, one.chunk)).shots == 200
    assert rig.executed == [200]


async def test_an_answer_that_comes_late_makes_a_job_no_longer(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu(shot_rate_hz=10_000)
    rig.fault(on=["job"], do="slow", handled=True, delay_s=0.5, times=1)
    found = await run(qpu, order(100))
    assert found.device_s + found.setup_s == pytest.approx(last_job_s(rig), abs=0.02)


async def test_a_job_that_came_about_late_took_no_longer(rig: Rig, order: Order) -> None:
    await rig.known(order())
    qpu = await rig.qpu(**HASTY, shot_rate_hz=1000)
    rig.fault(on=["create"], do="slow", delay_s=4.0, times=1)
    one = order(300)
    with pytest.raises(ManagerUnreachable):
        await qpu.start(one)
    found = await settled(qpu, one.chunk)
    assert found.device_s + found.setup_s == pytest.approx(last_job_s(rig), abs=0.02)


def last_job_s(rig: Rig) -> float:
    """What the last job took, by the machine's own ledger."""
    began, ended = rig.machine.ledger.lines[-2:]
    return float(ended["at_ns"] - began["at_ns"]) / 1e9


async def test_a_mistake_of_ours_while_following_leaves_nobody_waiting(
    rig: Rig, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    qpu, one = await rig.qpu(), order()
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise ZeroDivisionError("ours")

        broken.setattr(following, "times_of", fail)
        found = await run(qpu, one)
        assert found.kind is OutcomeKind.UNANSWERED
        assert "ZeroDivisionError" in found.message
    assert (await settled(qpu, one.chunk)).shots == 10
    assert rig.executed == [10]


async def test_nobody_listens_nothing_was_sent(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    await rig.server.close()
    await qpu.health()  # a kept connection may break only now, in the middle of a request
    with pytest.raises(DeviceError, match="can't be reached"):
        await qpu.start(order())
    health = await qpu.health()
    assert health.state is QpuState.DOWN
    assert "can't be reached" in health.reason
    assert health.until is not None


# -- a controller that forgets --------------------------------------------------


async def test_a_job_that_was_forgotten_is_not_known(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"stuck": True})
    one = order()
    await qpu.start(one)
    rig.machine.forget()
    found = await qpu.wait(one.chunk)
    assert found.kind is OutcomeKind.NOT_KNOWN
    assert "doesn't know job 0 any more" in found.message


async def test_numbers_that_begin_again_name_other_jobs(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu(shot_rate_hz=20)
    one = order()
    await qpu.start(one)
    rig.machine.forget()
    rig.machine.create(10, one.program.content, {"pasqman_job_id": "somebody else's"})
    found = await qpu.wait(one.chunk)
    assert found.kind is OutcomeKind.NOT_KNOWN
    assert "started anew" in found.message


async def test_lost_and_then_started_anew_is_proof_that_it_is_gone(rig: Rig, order: Order) -> None:
    await rig.known(order())
    qpu = await rig.qpu(**HASTY)
    rig.fault(on=["create"], do="drop", times=1)
    one = order()
    with pytest.raises(ManagerUnreachable):
        await qpu.start(one)
    rig.machine.forget()
    found = await settled(qpu, one.chunk)
    assert found.kind is OutcomeKind.NOT_KNOWN
    assert "forgotten job 0" in found.message


async def test_another_client_s_job_cancels_ours_and_its_shots_are_free(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"stuck": True})
    one = order()
    await qpu.start(one)
    rig.machine.create(1, one.program.content, {})
    found = await qpu.wait(one.chunk)
    assert (found.kind, found.shots) == (OutcomeKind.STOPPED, 0)


# -- a controller that lies -----------------------------------------------------


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("fewer", "9 shots; 10 were asked"),
        ("more", "11 shots; 10 were asked"),
        ("longer", "no bitstring of 3 atoms"),
        ("letters", "no bitstring of 3 atoms"),
        ("negative", "can't be a number of shots"),
        ("python", "no JSON"),
        ("list", "no `counter`"),
        ("none", "no result"),
    ],
)
async def test_counts_that_can_t_be_right_are_a_device_fault(
    rig: Rig, order: Order, results: str, said: str
) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"results": results})
    found = await run(qpu, order())
    assert (found.kind, found.shots) == (OutcomeKind.FAULT, 0)
    assert said in found.message


@pytest.mark.parametrize("offset_s", [-2e5, 2e5])
async def test_a_wrong_clock_changes_no_duration(rig: Rig, order: Order, offset_s: float) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"shot_s": 0.01})
    await run(qpu, order())
    rig.machine.change({"clock_offset_s": offset_s})
    one = order()
    await qpu.start(one)
    rig.machine.change({"clock_offset_s": -offset_s})
    found = await qpu.wait(one.chunk)
    assert found.kind is OutcomeKind.FINISHED
    assert 0 < found.device_s + found.setup_s < 100


async def test_a_controller_that_echoes_nothing_is_believed_by_number(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"echo": False})
    assert (await run(qpu, order())).shots == 10


# -- jobs that don't end, and a machine that is down ------------------------------


async def test_a_job_that_doesn_t_end_is_cancelled_and_is_a_fault(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu(shot_rate_hz=1000, overdue_s=0.2)
    rig.machine.change({"stuck": True})
    found = await run(qpu, order())
    assert found.kind is OutcomeKind.FAULT
    assert "didn't end, and was cancelled" in found.message
    rig.machine.change({"stuck": False})
    assert (await run(qpu, order())).shots == 10


async def test_a_cancel_that_isn_t_heard_is_asked_for_again(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"stuck": True})
    one = order()
    await qpu.start(one)
    rig.fault(on=["cancel"], do="status", times=3)
    await qpu.stop(one.chunk)
    assert (await qpu.wait(one.chunk)).kind is OutcomeKind.STOPPED


async def test_a_stop_that_comes_too_late_gives_the_whole_chunk(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu(shot_rate_hz=1)
    one = order()
    await qpu.start(one)

    async def done() -> bool:
        return rig.executed == [10]

    await until(done)
    await qpu.stop(one.chunk)
    assert (await qpu.wait(one.chunk)).shots == 10


async def test_down_is_told_in_the_controller_s_words(rig: Rig) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"operational": "DOWN"})
    health = await qpu.health()
    assert (health.state, health.calibration) == (QpuState.DOWN, None)
    assert "isn't operational" in health.reason
    rig.machine.change({"operational": "UP"})
    assert (await qpu.health()).state is QpuState.UP


async def test_one_failed_look_at_its_health_closes_nothing(rig: Rig) -> None:
    qpu = await rig.qpu()
    for do in ("status", "drop", "html", "garbage"):
        rig.fault(on=["operational"], do=do, times=1)
        assert (await qpu.health()).state is QpuState.UP
        rig.fault(on=["operational"], do=do)
        assert (await qpu.health()).state is QpuState.DOWN


# -- a device that changes ------------------------------------------------------


async def test_a_program_that_the_device_no_longer_allows_is_refused_at_dispatch(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu(specs_every_s=1e-6)
    assert (await run(qpu, order())).shots == 10
    rig.machine.specs = {**rig.machine.specs, "max_sequence_duration": 100}
    with pytest.raises(ProgramRefused) as refused:
        await qpu.start(order())
    assert refused.value.rule == "max_sequence_duration"
    assert rig.posts == 1
    assert '"max_sequence_duration": 100' in str((await qpu.describe()).pulser_device)


async def test_what_the_controller_refuses_is_checked_on_the_device_as_it_is_now(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu()
    rig.machine.specs = {**rig.machine.specs, "max_sequence_duration": 100}
    rig.fault(on=["create"], do="status", status=400)
    with pytest.raises(ProgramRefused) as refused:
        await qpu.start(order())
    assert refused.value.rule == "max_sequence_duration"
    with pytest.raises(ProgramRefused):
        await qpu.start(order())


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_by_the_controller_alone_names_it(
    rig: Rig, order: Order, status: int
) -> None:
    qpu = await rig.qpu()
    rig.fault(on=["create"], do="status", status=status)
    with pytest.raises(ProgramRefused, match=str(status)) as refused:
        await qpu.start(order())
    assert refused.value.rule == "controller"


@pytest.mark.parametrize("status", [302, 403, 409])
async def test_other_refusals_are_the_device_s(rig: Rig, order: Order, status: int) -> None:
    qpu = await rig.qpu()
    rig.fault(on=["create"], do="status", status=status)
    with pytest.raises(DeviceError, match=str(status)):
        await qpu.start(order())
    rig.well()
    assert (await run(qpu, order())).shots == 10


async def test_fewer_shots_a_run_than_were_planned_close_it_until_it_is_opened_anew(
    rig: Rig,
) -> None:
    qpu = await rig.qpu(specs_every_s=1e-6)
    rig.machine.specs = {**rig.machine.specs, "max_runs": 5}
    await qpu.describe()
    health = await qpu.health()
    assert health.state is QpuState.DOWN
    assert health.outdated
    assert "at most 5 shots a run now" in health.reason


async def test_a_device_that_nobody_can_read_leaves_the_last_one_in_force_and_is_told(
    rig: Rig, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    qpu = await rig.qpu(specs_every_s=1e-6)
    before = await qpu.describe()
    good = rig.machine.specs
    rig.machine.specs = {"name": "Nonsense"}
    with caplog.at_level("WARNING"):
        assert await qpu.describe() == before
        assert (await run(qpu, order())).shots == 10
    assert len([line for line in caplog.messages if "stays in force" in line]) == 1
    health = await qpu.health()
    assert health.state is QpuState.UP
    assert "Pulser can't read the device" in health.reason
    assert "next: mend it there" in health.reason
    rig.machine.specs = good
    assert await qpu.describe() == before
    assert (await qpu.health()).reason == ""


async def test_a_program_not_taken_under_a_device_that_nobody_can_read_is_the_controller_s_fault(
    rig: Rig, order: Order
) -> None:
    qpu = await rig.qpu(specs_every_s=3600)
    rig.machine.specs = {"name": "Nonsense"}
    rig.fault(on=["create"], do="status", status=400)
    for _ in range(2):
        with pytest.raises(
            DeviceError, match=r"doesn't take the program .*, and Pulser can't read"
        ):
            await qpu.start(order())
    health = await qpu.health()
    assert health.state is QpuState.DOWN
    assert "takes no job" in health.reason


# -- the manager starts again -----------------------------------------------------


async def test_the_next_manager_finds_the_job_running_or_done(rig: Rig, order: Order) -> None:
    first = await rig.qpu()
    running, done = order(100), order(10)
    await first.start(done)
    await first.wait(done.chunk)
    rig.machine.change({"shot_s": 0.15})  # 15 s
    await first.start(running)
    await first.close()
    second = await rig.qpu()
    assert await second.ask(running.chunk) is None
    assert (await second.wait(running.chunk)).shots == 100
    third = await rig.qpu()
    found = await third.ask(done.chunk)
    assert found is not None
    assert found.shots == 10
    assert rig.executed == [10, 100]


async def test_killed_before_the_answer_came_the_job_is_found(rig: Rig, order: Order) -> None:
    first = await rig.qpu()
    rig.fault(on=["create"], do="hang", handled=True, times=1)
    one = order()
    starting = asyncio.create_task(first.start(one))

    async def created() -> bool:
        return bool(rig.machine.jobs)

    await until(created)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await first.close()
    second = await rig.qpu()
    assert (await settled(second, one.chunk)).shots == 10
    assert rig.posts == 1


async def test_killed_at_the_second_attempt_the_first_one_s_end_proves_nothing(
    rig: Rig, order: Order
) -> None:
    first = await rig.qpu()
    await run(first, order())
    rig.server.faults.switch(
        [{"on": ["create"], "do": "status", "times": 1}, {"on": ["create"], "do": "hang"}]
    )
    one = order()
    starting = asyncio.create_task(first.start(one))

    async def sent_twice() -> bool:
        return rig.posts == 3

    await until(sent_twice)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await first.close()
    second = await rig.qpu()
    found = await second.ask(one.chunk)
    assert found is not None
    assert found.kind is OutcomeKind.UNANSWERED


async def test_what_isn_t_in_the_record_was_never_sent(
    rig: Rig, order: Order, tmp_path: Path
) -> None:
    first = await rig.qpu()
    await run(first, order())
    await first.close()
    second = await rig.qpu()
    never = order()
    found = await second.ask(never.chunk)
    assert found is not None
    assert found.kind is OutcomeKind.NOT_KNOWN
    # Without the record nobody can say so.
    (tmp_path / "elsewhere").mkdir()
    third = await rig.qpu(tmp_path / "elsewhere")
    found = await third.ask(never.chunk)
    assert found is not None
    assert found.kind is OutcomeKind.UNANSWERED


async def test_a_host_that_was_started_anew_may_have_cut_the_record_off(
    rig: Rig, order: Order
) -> None:
    first = await rig.qpu()
    await run(first, order())
    await first.close()
    written_before_the_last_boot(rig.directory / "fresnel.controller.jsonl")
    second = await rig.qpu()
    found = await second.ask(order().chunk)
    assert found is not None
    assert found.kind is OutcomeKind.UNANSWERED


async def test_a_controller_that_is_away_is_no_obstacle_once_its_device_is_known(
    rig: Rig, tmp_path: Path
) -> None:
    first = await rig.qpu()
    known = await first.describe()
    await first.close()
    await rig.server.close()
    second = await rig.qpu()
    assert await second.describe() == known
    assert (await second.health()).state is QpuState.DOWN
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DeviceError, match="can't be reached"):
        await rig.qpu(tmp_path / "elsewhere")


async def test_a_chunk_is_sent_once_whatever_the_store_says(rig: Rig, order: Order) -> None:
    first = await rig.qpu()
    one = order()
    await run(first, one)
    await first.close()
    second = await rig.qpu()
    with pytest.raises(DeviceError, match=r"already sent.*fresnel\.controller\.jsonl"):
        await second.start(one)
    assert rig.posts == 1


# -- getting in -------------------------------------------------------------------


async def test_a_token_that_ran_out_is_read_again(rig: Rig, order: Order, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("old\n")
    qpu = await rig.qpu(token_file=str(token), headers={"X-Site": "here"})
    rig.fault(on=["create", "job"], do="status", status=401, times=1)
    assert (await run(qpu, order())).shots == 10
    rig.fault(do="status", status=401)
    health = await qpu.health()
    assert health.state is QpuState.DOWN
    assert "refuses us" in health.reason
    with pytest.raises(DeviceError, match="refuses us"):
        await qpu.start(order())


# -- how often it asks ------------------------------------------------------------


async def test_a_chunk_of_known_length_takes_few_requests(rig: Rig, order: Order) -> None:
    qpu = await rig.qpu()
    rig.machine.change({"shot_s": 0.01})
    for _ in range(3):
        await run(qpu, order(20))
    before = Counter(rig.server.requests)
    for _ in range(5):
        await run(qpu, order(20))
    spent = Counter(rig.server.requests) - before
    assert spent["create"] == 5
    assert spent.total() <= 5 * 8
