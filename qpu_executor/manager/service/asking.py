"""Cancel, hold, release: what is asked of tasks, whoever asks (who may is checked before)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import ANSWER_WITHIN_S, DecisionLoop
from qpu_executor.manager.store.change_records import AskTask
from qpu_executor.model.events import TaskCancelAsked, TaskHoldAsked, TaskReleaseAsked
from qpu_executor.model.values import Instant

_ASKED: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "cancel": (TaskCancelAsked, {"cancel_asked": True}),
    "hold": (TaskHoldAsked, {"hold_asked": True, "held_because": ""}),
    "release": (TaskReleaseAsked, {"hold_asked": False, "held_because": ""}),
}
"""What can be asked of a task: the event, and what a restart has to remember of it."""


async def ask_of_tasks(
    loop: DecisionLoop,
    action: str,
    ids: Sequence[int],
    note: Callable[[Ledger, Instant], None] | None = None,
) -> None:
    """Let the core decide on it in one turn; tasks that have ended stay as they are.

    `note`: puts on record who asked, in the same turn.
    """
    event_of, remembered = _ASKED[action]

    def change(ledger: Ledger, now: Instant) -> None:
        if note is not None:
            note(ledger, now)
        for task_id in ids:
            row = ledger.row(task_id)
            if row is None or row.state.final:
                continue
            ledger.remember(AskTask(task_id, **remembered))
            loop.decide(event_of(task_id), None, ledger, now)

    await loop.run(change, within_s=ANSWER_WITHIN_S)
