"""Judges the stopping rules of tasks between their chunks, for the core, which knows no counts.

When a chunk ends, the judgement on the shots counted so far and the chunk's own is posted
before the chunk's end, in the same turn of the loop: both are saved in one transaction, so
no chunk is sent in vain, and whoever is killed before has neither. A restart judges again
what is saved, and comes to the same.
"""

from __future__ import annotations

from qpu_executor.manager.service.shot_evidence import Evidence
from qpu_executor.manager.store.records import Snapshot, TaskRow
from qpu_executor.model.events import ChunkFinished, ChunkStopped, Event, StoppingRuleMet
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOutcome
from qpu_executor.scheduling.commands import Command, DiscardShots, SaveChunk, SaveTask


class Judge:
    """Keeps the evidence of every live task that has a rule, in step with what is saved."""

    def __init__(self) -> None:
        self._evidence: dict[int, Evidence] = {}
        self._last_n: dict[int, int] = {}

    def recall(self, snapshot: Snapshot) -> list[Event]:
        """Begin anew with what is stored; the rules that it meets already."""
        self._evidence.clear()
        self._last_n.clear()
        met: list[Event] = []
        for row in snapshot.live:
            if row.wishes.stop_when is None:
                continue
            evidence = self._of(row)
            assert evidence is not None
            for chunk in snapshot.chunks.get(row.id, ()):
                if not chunk.state.ended:
                    continue
                self._last_n[row.id] = chunk.n
                if chunk.shots_counted and not chunk.discarded:
                    evidence.add(chunk.counts)
            if evidence.met:
                met.append(StoppingRuleMet(row.id, evidence.shots, str(evidence)))
        return met

    def before(
        self, event: Event, outcome: ChunkOutcome | None, row: TaskRow | None
    ) -> StoppingRuleMet | None:
        """What has to be posted before the end of a chunk of this task, if anything.

        None also where the chunk gives all that the task still asks for, or has ended before.
        """
        if not isinstance(event, ChunkFinished | ChunkStopped) or outcome is None or row is None:
            return None
        evidence = self._of(row)
        if evidence is None or event.chunk.n <= self._last_n.get(row.id, -1):
            return None
        if not 0 < event.shots < row.shots - row.shots_done:
            return None
        found = evidence.joined(outcome.counts)
        if not found.met:
            return None
        return StoppingRuleMet(row.id, found.shots, str(found))

    def follow(self, command: Command, outcome: ChunkOutcome | None) -> None:
        """Take over what a command of the core saves. `outcome`: of the chunk it is about."""
        match command:
            case SaveChunk(chunk=ChunkId(task_id, n)) if command.state.ended:
                evidence = self._evidence.get(task_id)
                if evidence is not None:
                    self._last_n[task_id] = n
                    if outcome is not None and command.shots_counted:
                        evidence.add(outcome.counts)
            case DiscardShots() if command.task_id in self._evidence:
                self._evidence[command.task_id].clear()
            case SaveTask() if command.state.final:
                self._evidence.pop(command.task_id, None)
                self._last_n.pop(command.task_id, None)

    def standing(self, row: TaskRow) -> str | None:
        """How far a live task is from its rule's end, in words; None if it has no rule."""
        evidence = self._evidence.get(row.id)
        if evidence is None:
            return None if row.wishes.stop_when is None or row.state.final else "no shots yet"
        return str(evidence)

    def _of(self, row: TaskRow) -> Evidence | None:
        rule = row.wishes.stop_when
        if rule is None:
            return None
        return self._evidence.setdefault(row.id, Evidence(rule))
