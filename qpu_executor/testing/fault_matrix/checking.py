"""What must be true after any history of kills and faults; what isn't is named. Pure.

The controller's ledger is the other side of every statement about shots: the manager's own
rows can't prove that they are right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from qpu_executor.manager.store.records import ChunkRow, JournalRow, TaskRow
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import MICROSECONDS
from qpu_executor.scheduling.transitions import TASK_MOVES
from qpu_executor.simulation.recording import JournalEntry
from qpu_executor.simulation.recording_reader import read_recording
from qpu_executor.testing.fault_matrix.evidence import Evidence
from qpu_executor.testing.fault_matrix.weather import FOREIGN, Weather

CLOCKS_S = 0.05
"""By how much seconds measured at two places may differ."""

_ENDS = ("ChunkFinished", "ChunkStopped", "ChunkLost", "ChunkRefused")

Line = Mapping[str, Any]


def violations(evidence: Evidence, weather: Weather) -> list[str]:
    """Everything that is wrong, one sentence each; none if all is as it must be."""
    checks = (
        _submissions(evidence),
        _tasks(evidence),
        _executions(evidence, weather),
        _in_flight(evidence, weather),
        _journal(evidence),
        _charges(evidence, weather),
    )
    return [one for check in checks for one in check]


def repeats(evidence: Evidence) -> int:
    """Chunks whose shots the controller took and nobody counts: they were taken again."""
    done = _done(evidence)
    marks = [evidence.mark(one.id) for one in evidence.all_chunks if one.state is ChunkState.LOST]
    return sum(mark in done for mark in marks)


def _submissions(evidence: Evidence) -> Iterator[str]:
    """Everything acknowledged is there, and each key names one task."""
    by_key: dict[tuple[str, str], list[TaskRow]] = defaultdict(list)
    for task in evidence.tasks:
        by_key[task.owner, task.key or ""].append(task)
    for key, tasks in by_key.items():
        if len(tasks) > 1:
            yield f"{key} names {len(tasks)} tasks: {[one.id for one in tasks]}"
        if key not in evidence.wanted:
            yield f"nobody submitted {key}"
        elif tasks[0].shots != evidence.wanted[key]:
            yield f"{key} has {tasks[0].shots} shots; {evidence.wanted[key]} were asked for"
    for user, name, task_id in evidence.told:
        ids = [one.id for one in by_key.get((user, name), [])]
        if task_id not in ids:
            yield f"task {task_id} ({name} of {user}) was acknowledged and isn't there ({ids})"
    for wanted in evidence.wanted:
        if wanted not in by_key:
            yield f"{wanted} was submitted in the end and isn't there"


def _tasks(evidence: Evidence) -> Iterator[str]:
    """Each task is done, and its counts are exactly its shots, as its client sees them."""
    for task in evidence.tasks:
        chunks = evidence.chunks[task.id]
        if task.state is not TaskState.COMPLETED:
            yield f"task {task.id} is {task.state}: {task.error}"
        if still := [str(one.id) for one in chunks if not one.state.ended]:
            yield f"task {task.id}: chunks {still} have not ended"
        counted: Counter[str] = Counter()
        for one in chunks:
            counted.update(one.counts)
            if sum(one.counts.values()) != one.shots_counted:
                yield f"chunk {one.id} counts {one.shots_counted} and has {dict(one.counts)}"
        if not counted.total() == task.shots == task.shots_done:
            yield f"task {task.id}: {counted.total()} of {task.shots} shots ({task.shots_done})"
        told = evidence.results.get((task.owner, task.key or ""))
        if told is not None and Counter(told) != counted:
            yield f"task {task.id}: its client was told {told}, its chunks have {dict(counted)}"


def _done(evidence: Evidence) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.ledger:
        if line["event"] == "ended" and line["status"] == "DONE":
            found[line["mark"]].append(line)
    return found


def _executions(evidence: Evidence, weather: Weather) -> Iterator[str]:
    """Chunk by chunk: what was executed is what is counted, once, and nothing else was."""
    done = _done(evidence)
    began = Counter(line["mark"] for line in evidence.ledger if line["event"] == "began")
    known = {evidence.mark(one.id) for one in evidence.all_chunks}
    for mark in began:
        if mark not in known and mark != FOREIGN:
            yield f"the controller began {mark}, which the store has never heard of"
    for one in evidence.all_chunks:
        mark = evidence.mark(one.id)
        if began[mark] > 1:
            yield f"chunk {one.id} was begun {began[mark]} times under one mark"
        executed = done.get(mark, [])
        if one.shots_counted:
            yield from _counted(one, executed)
        elif executed and not _excused(evidence, mark, weather):
            yield (
                f"chunk {one.id} was executed and counts nothing, though the controller "
                f"knows it ({one.state}: {one.reason})"
            )
        elif executed and not one.reason:
            yield f"chunk {one.id} was executed, counts nothing, and the record doesn't say why"


def _counted(one: ChunkRow, executed: list[Line]) -> Iterator[str]:
    if len(executed) != 1:
        yield f"chunk {one.id} is counted, and the ledger has it {len(executed)} times as done"
        return
    (line,) = executed
    if line["executed"] != one.shots_counted + one.surplus:
        yield f"chunk {one.id}: {line['executed']} shots executed, {one.shots_counted} counted"
    if line["counts"] != dict(one.counts):
        yield f"chunk {one.id}: the machine measured {line['counts']}, stored is {one.counts}"


def _excused(evidence: Evidence, mark: str, weather: Weather) -> bool:
    """The controller can't know it any more, it came too late, or its counts were no counts."""
    if weather.accepts_late or weather.machine.get("results"):
        return True
    seen = False
    for line in evidence.ledger:
        if line.get("mark") == mark and line["event"] == "began":
            seen = True
        elif seen and (line["event"] == "forgot" or line.get("remembers") == 0):
            return True
    return False


def _in_flight(evidence: Evidence, weather: Weather) -> Iterator[str]:
    """No chunk was sent while another was at the controller (unless that one came too late)."""
    if weather.accepts_late:
        return
    there: dict[int, tuple[str, int]] = {}
    for line in evidence.ledger:
        match line["event"]:
            case "forgot" | "started":
                there.clear()
            case "began":
                for mark, began_ns in there.values():
                    if FOREIGN in (mark, line["mark"]):
                        continue
                    apart_s = (line["at_ns"] - began_ns) / 1e9
                    yield f"{line['mark']} was sent {apart_s:.3f} s after {mark}, which still ran"
                there[line["job"]] = line["mark"], line["at_ns"]
            case "ended":
                there.pop(line["job"], None)


def _journal(evidence: Evidence) -> Iterator[str]:
    """Numbered without a gap; every move in it is legal; it ends where the rows are."""
    numbers = [row.n for row in evidence.journal]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the journal's numbers have gaps: {numbers[:5]} ... {numbers[-5:]}"
    if sorted(row.at for row in evidence.journal) != [row.at for row in evidence.journal]:
        yield "time goes back in the journal"
    state: dict[int, TaskState] = {}
    ends: Counter[tuple[int, int]] = Counter()
    for row in evidence.journal:
        if row.state is not None and row.task_id is not None:
            if row.state not in TASK_MOVES[state.get(row.task_id)]:
                yield f"task {row.task_id} goes from {state.get(row.task_id)} to {row.state}"
            state[row.task_id] = row.state
        if row.kind in _ENDS:
            ends[_chunk_of(row)] += 1
    for task in evidence.tasks:
        if state.get(task.id) is not task.state:
            yield f"task {task.id} is {task.state}; its journal ends with {state.get(task.id)}"
    for one in evidence.all_chunks:
        if ends[one.id.task_id, one.id.n] != 1:
            yield f"chunk {one.id} ends {ends[one.id.task_id, one.id.n]} times in the journal"
    entries = (
        JournalEntry(row.at, row.kind, row.task_id, row.state, row.data) for row in evidence.journal
    )
    played = read_recording(entries, {one.id: one.qpu for one in evidence.all_chunks})
    if len(played.tasks) != len(evidence.tasks):
        yield f"a replay finds {len(played.tasks)} of {len(evidence.tasks)} tasks"


def _chunk_of(row: JournalRow) -> tuple[int, int]:
    found: Any = row.data["chunk"]
    return found[0], found[1]


def _charges(evidence: Evidence, weather: Weather) -> Iterator[str]:
    """Charged is what ended chunks took, by the machine's clock; the sums agree."""
    done = _done(evidence)
    for one in evidence.all_chunks:
        took_s = one.device_s + one.setup_s
        if one.state is ChunkState.LOST:
            if one.charged_s:
                yield f"chunk {one.id} was lost, and {one.charged_s} s are charged for it"
        elif not one.device_s - CLOCKS_S <= one.charged_s <= took_s + CLOCKS_S:
            yield f"chunk {one.id} took {took_s} s, and {one.charged_s} s are charged for it"
        stay_s = ((one.ended_at or one.sent_at) - one.sent_at) / MICROSECONDS
        if took_s > stay_s + CLOCKS_S:
            yield f"chunk {one.id} took {took_s} s, and was away for {stay_s} s only"
        if one.shots_counted and not weather.skewed:
            yield from _took(evidence, one, took_s, done)
    charged_s = sum(one.charged_s for one in evidence.all_chunks)
    used_s = sum(one.charged_s for one in evidence.usage)
    if abs(charged_s - used_s) > 1e-6:
        yield f"chunks were charged {charged_s} s, accounts {used_s} s"


def _took(
    evidence: Evidence, one: ChunkRow, took_s: float, done: Mapping[str, list[Line]]
) -> Iterator[str]:
    mark = evidence.mark(one.id)
    received = [x for x in evidence.ledger if x["event"] == "began" and x["mark"] == mark]
    ended = done.get(mark, [])
    if len(received) == len(ended) == 1:
        by_machine_s = (ended[0]["at_ns"] - received[0]["at_ns"]) / 1e9
        if abs(by_machine_s - took_s) > CLOCKS_S:
            yield f"chunk {one.id} took {took_s} s; the machine says {by_machine_s} s"
