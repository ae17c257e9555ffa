"""The fault matrix's checks find what is wrong: each kind of it is put in by hand, alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpu_executor.manager.store.records import ChunkRow, JournalRow, TaskRow, UsageRow
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.qpus.pasqal_controller.messages import mark_of
from qpu_executor.testing.fault_matrix.checking import repeats, violations
from qpu_executor.testing.fault_matrix.evidence import Evidence
from qpu_executor.testing.fault_matrix.weather import CALM, WEATHERS

S = 1_000_000
ME = UUID(int=7)
KEY = ("ann", "k")


def task() -> TaskRow:
    return TaskRow(
        id=1,
        owner="ann",
        account="ann",
        session_id=None,
        name="",
        state=TaskState.COMPLETED,
        job_class="development",
        priority=0,
        shots=5,
        shots_done=5,
        seed=1,
        program_hash="h",
        qpu_asked=None,
        qpus=("fresnel",),
        divisible=True,
        key="k",
        key_origin="user",
        generation=1,
        body_hash="b",
        submitted_at=S,
    )


def chunk(n: int, shots: int, **more: Any) -> ChunkRow:
    found = ChunkRow(
        task_id=1,
        n=n,
        state=ChunkState.FINISHED,
        qpu="fresnel",
        device="d",
        emulated=False,
        first_shot=3 * n,
        shots=shots,
        sent_at=(10 + 10 * n) * S,
        incarnation=1,
        shots_counted=shots,
        counts={"0": shots},
        ended_at=(15 + 10 * n) * S,
        device_s=2.0,
        charged_s=2.0,
    )
    return replace(found, **more)


def ran(n: int, shots: int, job: int | None = None, at_s: float | None = None) -> list[Any]:
    """The ledger's lines of a chunk that ran for 2 s."""
    began_s = 11.0 + 10 * n if at_s is None else at_s
    about = {"job": n if job is None else job, "mark": mark_of(ME, chunk(n, shots).id)}
    began = {**about, "event": "began", "shots": shots, "at_ns": int(began_s * 1e9)}
    ended = {"event": "ended", "executed": shots, "status": "DONE", "counts": {"0": shots}}
    return [began, {**about, **ended, "at_ns": int((began_s + 2) * 1e9)}]


def event(n: int, kind: str, **more: Any) -> JournalRow:
    return JournalRow(n=n, at=n * S, kind=kind, **more)


def journal() -> list[JournalRow]:
    spec = {"task_id": 1, "shots": 5, "job_class": "development", "qpus": ["fresnel"]}
    more = {"owner": "ann", "account": "ann", "divisible": True, "submitted_at": S}

    def state(n: int, state: TaskState) -> JournalRow:
        return event(n, "TaskState", task_id=1, state=state)

    def end(n: int, chunk_n: int) -> JournalRow:
        took = {"shots": 3 - chunk_n, "device_s": 2.0, "setup_s": 0.0}
        return event(n, "ChunkFinished", data={"chunk": [1, chunk_n], **took})

    return [
        state(1, TaskState.QUEUED),
        event(2, "TaskSubmitted", data={"task": {**spec, **more}}),
        state(3, TaskState.RUNNING),
        event(4, "ChunkStarted", data={"chunk": [1, 0]}),
        end(5, 0),
        event(6, "ChunkStarted", data={"chunk": [1, 1]}),
        end(7, 1),
        state(8, TaskState.COMPLETED),
    ]


@pytest.fixture
def right() -> Evidence:
    return Evidence(
        tasks=[task()],
        chunks={1: [chunk(0, 3), chunk(1, 2)]},
        journal=journal(),
        usage=[UsageRow("ann", "ann", "development", 4.0, False, 25 * S)],
        ledger=[{"event": "started", "remembers": 0, "at_ns": 0}, *ran(0, 3), *ran(1, 2)],
        instance=ME,
        wanted={KEY: 5},
        told=[("ann", "k", 1)],
        results={KEY: {"0": 5}},
    )


def lost(one: ChunkRow, reason: str = "it was forgotten") -> ChunkRow:
    counts: dict[str, int] = {}
    return replace(
        one, state=ChunkState.LOST, shots_counted=0, counts=counts, reason=reason, charged_s=0.0
    )


def with_repeat(right: Evidence, *between: Any) -> Evidence:
    """Chunk 0 was executed, lost, and its shots were taken again as chunk 2."""
    again = replace(chunk(2, 3), first_shot=0)
    end = event(9, "ChunkLost", data={"chunk": [1, 0], "reason": "", "fault": False})
    rows = [replace(end, n=5, at=5 * S) if one.n == 5 else one for one in right.journal]
    last = rows.pop()
    took = {"shots": 3, "device_s": 2.0, "setup_s": 0.0}
    rows += [
        event(8, "ChunkFinished", data={"chunk": [1, 2], **took}),
        replace(last, n=9, at=9 * S),
    ]
    return replace(
        right,
        chunks={1: [lost(chunk(0, 3)), chunk(1, 2), again]},
        ledger=[*right.ledger[:3], *between, *right.ledger[3:], *ran(2, 3)],
        journal=rows,
    )


def test_nothing_is_wrong_with_what_is_right(right: Evidence) -> None:
    assert violations(right, CALM) == []
    assert repeats(right) == 0


def test_a_repeat_is_right_where_the_controller_had_forgotten(right: Evidence) -> None:
    forgot = {"event": "forgot", "at_ns": int(14e9)}
    excused = with_repeat(right, forgot)
    assert violations(excused, CALM) == []
    assert repeats(excused) == 1


def without_reason(right: Evidence) -> Evidence:
    found = with_repeat(right, {"event": "forgot", "at_ns": int(14e9)})
    chunks = list(found.chunks[1])
    return replace(found, chunks={1: [replace(chunks[0], reason=""), *chunks[1:]]})


def of_chunk(right: Evidence, n: int, **changes: Any) -> Evidence:
    chunks = list(right.chunks[1])
    chunks[n] = replace(chunks[n], **changes)
    return replace(right, chunks={1: chunks})


def of_task(right: Evidence, **changes: Any) -> Evidence:
    return replace(right, tasks=[replace(right.tasks[0], **changes)])


def of_line(right: Evidence, n: int, **changes: Any) -> Evidence:
    lines = [dict(one) for one in right.ledger]
    lines[n].update(changes)
    return replace(right, ledger=lines)


WRONG: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "a job that was done twice": (
        lambda e: replace(e, ledger=[*e.ledger, *ran(1, 2, job=9, at_s=90)]),
        "begun 2 times under one mark",
    ),
    "a job that the ledger doesn't have": (
        lambda e: replace(e, ledger=e.ledger[:3]),
        "the ledger has it 0 times",
    ),
    "other bitstrings with the same sum": (
        lambda e: of_line(e, 2, counts={"1": 3}),
        "the machine measured",
    ),
    "fewer shots executed than counted": (
        lambda e: of_line(e, 2, executed=2),
        "2 shots executed, 3 counted",
    ),
    "a job of a chunk that isn't stored": (
        lambda e: replace(e, ledger=[*e.ledger, *ran(7, 1)]),
        "the store has never heard of",
    ),
    "a chunk sent while another ran": (
        lambda e: replace(e, ledger=[e.ledger[n] for n in (0, 1, 3, 2, 4)]),
        "which still ran",
    ),
    "a repeat though the controller knew the job": (
        with_repeat,
        "though the controller knows it",
    ),
    "a repeat that isn't explained": (without_reason, "the record doesn't say why"),
    "shots missing in the rows": (
        lambda e: of_chunk(e, 1, shots_counted=1, counts={"0": 1}),
        "4 of 5 shots",
    ),
    "a number of shots that its counts don't have": (
        lambda e: of_chunk(e, 1, shots_counted=3),
        "counts 3 and has",
    ),
    "a client that was told something else": (
        lambda e: replace(e, results={KEY: {"0": 4, "1": 1}}),
        "its client was told",
    ),
    "a chunk that is still out": (
        lambda e: of_chunk(e, 1, state=ChunkState.UNKNOWN),
        "have not ended",
    ),
    "a task that failed": (lambda e: of_task(e, state=TaskState.FAILED), "task 1 is FAILED"),
    "an acknowledged task that is gone": (
        lambda e: replace(e, told=[*e.told, ("ann", "k", 2)]),
        "was acknowledged and isn't there",
    ),
    "a submission that is gone": (
        lambda e: replace(e, wanted={**e.wanted, ("ann", "other"): 1}),
        "was submitted in the end and isn't there",
    ),
    "a task that nobody wanted": (lambda e: replace(e, wanted={}), "nobody submitted"),
    "a key with two tasks": (
        lambda e: replace(
            e, tasks=[*e.tasks, replace(e.tasks[0], id=2)], chunks={**e.chunks, 2: []}
        ),
        "names 2 tasks",
    ),
    "a gap in the journal": (
        lambda e: replace(e, journal=[one for one in e.journal if one.n != 4]),
        "have gaps",
    ),
    "a chunk that ended twice": (
        lambda e: replace(e, journal=[*e.journal, replace(e.journal[6], n=9, at=9 * S)]),
        "ends 2 times in the journal",
    ),
    "a task that runs after its end": (
        lambda e: replace(e, journal=[*e.journal, replace(e.journal[2], n=9, at=9 * S)]),
        "goes from COMPLETED to RUNNING",
    ),
    "time that goes back": (
        lambda e: replace(e, journal=[*e.journal[:-1], replace(e.journal[-1], at=0)]),
        "time goes back",
    ),
    "a chunk that is charged twice": (
        lambda e: of_chunk(e, 0, charged_s=4.0),
        "4.0 s are charged for it",
    ),
    "accounts that are charged something else": (
        lambda e: replace(e, usage=[]),
        "chunks were charged 4.0 s, accounts 0",
    ),
    "seconds that the machine didn't take": (
        lambda e: of_chunk(e, 0, device_s=3.0, charged_s=3.0),
        "the machine says 2.0 s",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(right: Evidence, what: str) -> None:
    make, words = WRONG[what]
    found = violations(make(right), CALM)
    assert any(words in one for one in found), found


def test_no_two_weathers_have_one_name() -> None:
    assert len({one.name for one in WEATHERS}) == len(WEATHERS)
