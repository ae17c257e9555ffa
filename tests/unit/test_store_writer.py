"""The writer thread's grouping, with a commit that says what it was given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import chain

import pytest

from qpu_executor.errors import InternalError, ManagerBusy, StoreError
from qpu_executor.manager.store.change_records import AskTask, Change
from qpu_executor.manager.store.writer import Writer

A, B, C, D = (AskTask(n) for n in range(4))


class Commits:
    """Records every transaction; the first one waits until `go`, so that others queue up."""

    def __init__(self, fail: Callable[[Sequence[Change]], None] = lambda changes: None) -> None:
        self.seen: list[list[Change]] = []
        self.first_runs = threading.Event()
        self.go = threading.Event()
        self._fail = fail

    def __call__(self, batches: Sequence[Sequence[Change]]) -> None:
        changes = list(chain.from_iterable(batches))
        self.seen.append(changes)
        if len(self.seen) == 1:
            self.first_runs.set()
            self.go.wait()
        self._fail(changes)


async def written(commits: Commits, *batches: Sequence[Change]) -> list[BaseException | None]:
    """Outcomes of an empty batch and of those that queued up behind it."""
    writer = Writer(commits)
    writer.start()
    first = asyncio.ensure_future(writer.write([]))
    await asyncio.to_thread(commits.first_runs.wait)
    waits = [asyncio.ensure_future(writer.write(batch)) for batch in batches]
    await asyncio.sleep(0)  # each has handed in its batch now
    commits.go.set()
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    await first
    writer.stop()
    return outcomes


async def test_batches_that_wait_go_together_in_order() -> None:
    commits = Commits()
    assert await written(commits, [A, B], [C], [D]) == [None] * 3
    assert commits.seen[1:] == [[A, B, C, D]]


async def test_a_bad_batch_fails_alone() -> None:
    def refuse_b(changes: Sequence[Change]) -> None:
        if B in changes:
            raise StoreError("no B")

    commits = Commits(refuse_b)
    first, second, third = await written(commits, [A], [B], [C])
    assert (first, third) == (None, None)
    assert isinstance(second, StoreError)
    assert commits.seen[-3:] == [[A], [B], [C]]


async def test_a_busy_store_is_asked_once_for_the_whole_group() -> None:
    def busy(changes: Sequence[Change]) -> None:
        if changes:
            raise ManagerBusy("locked", retry_after_s=7)

    commits = Commits(busy)
    outcomes = await written(commits, [A], [B], [C])
    assert [getattr(outcome, "retry_after_s", None) for outcome in outcomes] == [7, 7, 7]
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert commits.seen[1:] == [[A, B, C]]


async def test_once_the_store_gets_busy_nothing_overtakes() -> None:
    def refuse_a_then_busy(changes: Sequence[Change]) -> None:
        if A in changes:
            raise StoreError("no A")
        if changes == [B]:
            raise ManagerBusy("locked")

    commits = Commits(refuse_a_then_busy)
    outcomes = await written(commits, [A], [B], [C], [D])
    assert [type(outcome) for outcome in outcomes] == [StoreError, *[ManagerBusy] * 3]
    assert commits.seen[-2:] == [[A], [B]]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
async def test_an_unforeseen_error_reaches_the_caller_and_the_writer_goes_on(
    error: type[BaseException],
) -> None:
    def stumble(batches: Sequence[Sequence[Change]]) -> None:
        if list(batches) == [[A]]:
            raise error

    writer = Writer(stumble)
    writer.start()
    with pytest.raises(InternalError, match=error.__name__):
        await asyncio.wait_for(writer.write([A]), 10)
    await asyncio.wait_for(writer.write([B]), 10)
    writer.stop()


def test_a_loop_that_is_gone_does_not_stop_the_writer() -> None:
    commits = Commits()
    writer = Writer(commits)
    writer.start()

    async def leave() -> None:
        waiting = asyncio.ensure_future(writer.write([A]))
        await asyncio.to_thread(commits.first_runs.wait)
        waiting.cancel()

    asyncio.run(leave())
    commits.go.set()
    asyncio.run(writer.write([B]))
    writer.stop()
    assert commits.seen == [[A], [B]]
