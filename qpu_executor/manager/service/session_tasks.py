"""What a session's loss, return and end do to its tasks. Within a turn of the loop only.

A task that its owner or an operator holds stays theirs: it is neither held again nor
released. What a session holds says why in its row, so that a restart and `qpu why` know.
"""

from __future__ import annotations

from dataclasses import replace

from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import DecisionLoop
from qpu_executor.manager.store.change_records import AskTask
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.events import (
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
)
from qpu_executor.model.sessions import TaskFate
from qpu_executor.model.values import Instant


class SessionTasks:
    """Lets the core hold, release, cancel and move the tasks of sessions."""

    def __init__(self, loop: DecisionLoop) -> None:
        self._loop = loop

    def meet(self, session_id: str, fate: TaskFate, why: str, ledger: Ledger, now: Instant) -> None:
        """Do with the tasks what is said. `why`: in words, for each that is held or cancelled."""
        if fate is TaskFate.FINISH:
            self.release(session_id, ledger, now)
        for row in _tasks_of(session_id, ledger):
            if fate is TaskFate.HOLD:
                self._hold(row, why, ledger, now)
            elif fate is TaskFate.CANCEL and not row.cancel_asked:
                self._loop.decide(TaskCancelAsked(row.id, why), None, ledger, now)
                _remember(AskTask(row.id, cancel_asked=True), ledger)

    def any_of(self, session_id: str, ledger: Ledger) -> bool:
        """True if a task of the session hasn't ended, as this turn sees it."""
        return bool(_tasks_of(session_id, ledger))

    def release(self, session_id: str, ledger: Ledger, now: Instant) -> list[int]:
        """Let the tasks go on that the session's loss holds; their ids."""
        found = [row.id for row in _tasks_of(session_id, ledger) if row.held_because]
        for task_id in found:
            self._let_go(task_id, ledger, now)
        return found

    def move_end(self, session: SessionRow, ledger: Ledger, now: Instant) -> None:
        """The session's allocation ends at another time: so do its tasks."""
        for one in _tasks_of(session.id, ledger):
            row = ledger.row(one.id)
            if row is not None and not row.state.final:  # time has gone on in the core
                self._rebind(row, session, ledger, now)

    def take_over(
        self, task_id: int, session: SessionRow | None, ledger: Ledger, now: Instant
    ) -> None:
        """Somebody asked for a task again by its key: it goes on, in the session that they name."""
        row = ledger.row(task_id)
        if row is None or row.state.final:
            return
        if session is not None and session.id != row.session_id:
            self._rebind(row, session, ledger, now)
        if row.held_because:
            self._let_go(row.id, ledger, now)

    def _rebind(self, row: TaskRow, session: SessionRow, ledger: Ledger, now: Instant) -> None:
        wishes = replace(row.wishes, session_ends_at=session.ends_at)
        ledger.remember(AskTask(row.id, session_id=session.id, wishes=wishes))
        rebound = TaskRebound(row.id, session.id, session.ends_at)
        self._loop.decide(rebound, None, ledger, now)

    def _hold(self, row: TaskRow, why: str, ledger: Ledger, now: Instant) -> None:
        if row.cancel_asked or (row.hold_asked and not row.held_because):
            return
        if not row.hold_asked:
            self._loop.decide(TaskHoldAsked(row.id), None, ledger, now)
        _remember(AskTask(row.id, hold_asked=True, held_because=why), ledger)

    def _let_go(self, task_id: int, ledger: Ledger, now: Instant) -> None:
        ledger.remember(AskTask(task_id, hold_asked=False, held_because=""))
        self._loop.decide(TaskReleaseAsked(task_id), None, ledger, now)


def _remember(asked: AskTask, ledger: Ledger) -> None:
    """After the core was told, for which time comes first: its allocation may have ended it."""
    row = ledger.row(asked.task_id)
    if row is not None and not row.state.final:
        ledger.remember(asked)


def _tasks_of(session_id: str, ledger: Ledger) -> list[TaskRow]:
    """The session's tasks that haven't ended, as this turn sees them, oldest first."""
    rows = {row.id: row for row in ledger.live.values() if row.session_id == session_id}
    for row in ledger.touched.values():
        if row.session_id == session_id:
            rows[row.id] = row
        else:
            rows.pop(row.id, None)
    return [row for _, row in sorted(rows.items()) if not row.state.final]
