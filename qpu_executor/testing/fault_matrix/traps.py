"""Where a forked manager kills itself, and managers that are wrong on purpose.

The product's code isn't changed: its functions are wrapped in the process that is about to
die. Points are named after what has just happened, or is about to.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qpu_executor.manager.store import changes as sql_changes
from qpu_executor.manager.store.change_records import AddChunk, AddTask, Change, UpdateChunk
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import ChunkState
from qpu_executor.qpus.base import ChunkOutcome
from qpu_executor.qpus.pasqal_controller.adapter import PasqalController
from qpu_executor.qpus.pasqal_controller.record import SentRecord
from qpu_executor.qpus.running import not_known


def _sends(one: Change) -> bool:
    return isinstance(one, AddChunk)


def _acknowledges(one: Change) -> bool:
    return isinstance(one, UpdateChunk) and one.state is ChunkState.RUNNING


def _counts(one: Change) -> bool:
    return isinstance(one, UpdateChunk) and one.shots_counted > 0


def _submits(one: Change) -> bool:
    return isinstance(one, AddTask)


_WHAT: dict[str, Callable[[Change], bool]] = {
    "send": _sends,
    "acknowledge": _acknowledges,
    "count": _counts,
    "submit": _submits,
}

BETWEEN = (
    "after-send-saved",
    "recorded",
    "answered",
    "before-acknowledge-saved",
    "during-acknowledge-saved",
)
"""Points at which a chunk is saved as SENT, and nobody has saved that it was accepted."""

ELSEWHERE = (
    "before-send-saved",
    "during-send-saved",
    "after-acknowledge-saved",
    "before-count-saved",
    "during-count-saved",
    "after-count-saved",
    "before-submit-saved",
    "during-submit-saved",
    "after-submit-saved",
)


@dataclass(frozen=True)
class Trap:
    """`point`: one of the above; `skip`: how often it is passed before."""

    point: str
    skip: int = 0


class _Counter:
    def __init__(self, skip: int) -> None:
        self._left = skip

    def passed(self) -> None:
        """SIGKILL, unless it is too early: no handler runs, nothing is flushed or closed."""
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def lay(trap: Trap) -> None:
    """From now on this process dies at the trap's point."""
    counter = _Counter(trap.skip)
    if trap.point == "recorded":
        _after_recording(counter)
    elif trap.point == "answered":
        _before_noting_the_answer(counter)
    else:
        when, what, _ = trap.point.split("-")
        fits = _WHAT[what]
        if when == "during":
            _inside_the_transaction(fits, counter)
        else:
            _around_saving(fits, counter, before=when == "before")


def _around_saving(fits: Callable[[Change], bool], counter: _Counter, *, before: bool) -> None:
    apply = SqlStore.apply

    async def deadly(self: SqlStore, changes: Sequence[Change]) -> None:
        meant = any(map(fits, changes))
        if meant and before:
            counter.passed()
        await apply(self, changes)
        if meant and not before:
            counter.passed()

    SqlStore.apply = deadly  # type: ignore[method-assign]


def _inside_the_transaction(fits: Callable[[Change], bool], counter: _Counter) -> None:
    write = sql_changes.write

    def deadly(connection: Any, prepared: Any, changes: Sequence[Change]) -> None:
        write(connection, prepared, changes)
        if any(map(fits, changes)):
            counter.passed()

    sql_changes.write = deadly


def _after_recording(counter: _Counter) -> None:
    sending = SentRecord.sending

    async def deadly(self: SentRecord, *arguments: Any) -> Any:
        sent = await sending(self, *arguments)
        counter.passed()
        return sent

    SentRecord.sending = deadly  # type: ignore[assignment, method-assign]


def _before_noting_the_answer(counter: _Counter) -> None:
    accepted = SentRecord.accepted

    def deadly(self: SentRecord, *arguments: Any) -> None:
        counter.passed()
        accepted(self, *arguments)

    SentRecord.accepted = deadly  # type: ignore[assignment, method-assign]


# -- managers that are wrong on purpose: the checks have to see it --------------------------


def _never_asks() -> None:
    """A restarted manager starts again whatever was in flight, without asking."""

    async def ask(self: PasqalController, chunk: Any) -> ChunkOutcome:
        return not_known(chunk)

    PasqalController.ask = ask  # type: ignore[method-assign]


def _sends_before_it_saves() -> None:
    """The device hears of a chunk before the store does."""
    from qpu_executor.manager.service.loop import DecisionLoop

    save, accepted, arrived = DecisionLoop._save, SentRecord.accepted, asyncio.Event()

    def noted(self: SentRecord, *arguments: Any) -> None:
        accepted(self, *arguments)
        arrived.set()

    async def late(self: DecisionLoop, ledger: Any) -> None:
        sending = any(map(_sends, ledger.changes))
        if not sending:
            await save(self, ledger)
            return
        self._take_over(ledger)
        for command in ledger.device_commands:
            await self._perform(command)
        ledger.device_commands.clear()
        arrived.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), 1.0)
        await save(self, ledger)

    DecisionLoop._save = late  # type: ignore[method-assign]
    SentRecord.accepted = noted  # type: ignore[assignment, method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "never-asks": _never_asks,
    "sends-before-it-saves": _sends_before_it_saves,
}
