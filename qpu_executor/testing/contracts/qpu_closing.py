"""Part of the suite in `qpu.py`: an adapter that is closed, and opened again, under a call.

That happens at any moment: a device's limits have changed, the manager ends, an operator
opens it anew. Whatever is under way then ends soon, with an answer that the manager can act
upon: a start that it never took place (DeviceError) or that nobody knows
(ManagerUnreachable), who waits or asks UNANSWERED. A cancellation is no answer, nor is it
the program's fault, and a chunk that was sent is found again and runs once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from qpu_executor.errors import DeviceError, ManagerUnreachable
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOutcome, DeviceDescription, Health, OutcomeKind, QpuAdapter
from qpu_executor.testing.contracts.qpu_subject import Subject, order, outcome_of

__all__ = [
    "test_a_start_under_which_it_is_closed_is_answered_and_its_chunk_runs_once",
    "test_a_stop_under_which_it_is_closed_ends_and_can_be_told_again",
    "test_questions_under_which_it_is_closed_are_answered_and_the_chunk_is_found_again",
    "test_while_it_is_closed_it_takes_nothing_and_says_nothing_of_what_goes_on",
]

R = TypeVar("R")

ENDS_WITHIN_S = 60.0
"""Whatever was under way when it was closed has ended by then (real seconds)."""

UNCLEAR_FOR_S = 3.0
"""A chunk of which nobody knows whether it was sent may stay so for longer than a test."""

TURNS = (0, 3)
PARTS = (0.2, 0.5, 0.8)
"""When it is closed: after so many turns of the event loop, and parts of a start's time."""

Make = Callable[[], Subject]


async def bounded(work: Awaitable[R]) -> R:
    """What it gives or raises. A cancellation that nobody asked for fails the test."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=ENDS_WITHIN_S)
    assert done, f"it hangs: {task!r}"
    assert not task.cancelled(), f"it ended with CancelledError: {task!r}"
    return task.result()


async def turns(number: int) -> None:
    """Let the others go on a little."""
    for _ in range(number):
        await asyncio.sleep(0)


async def opened_anew(subject: Subject, directory: Path) -> None:
    """Close it and open it at once, as the manager does."""
    await bounded(subject.qpu.close())
    await bounded(subject.qpu.open(SystemClock(), directory))


async def known(qpu: QpuAdapter, chunk: ChunkId, patience_s: float) -> ChunkOutcome:
    """How a chunk ended, asked as often as it takes; UNANSWERED where that never comes."""
    found: ChunkOutcome | None = None
    ends_at = asyncio.get_running_loop().time() + patience_s
    while asyncio.get_running_loop().time() < ends_at:
        found = await bounded(qpu.ask(chunk))
        if found is None:
            found = await bounded(qpu.wait(chunk))
        if found.kind is not OutcomeKind.UNANSWERED:
            return found
        await asyncio.sleep(0.02)
    assert found is not None
    return found


async def found_running(qpu: QpuAdapter, chunk: ChunkId) -> None:
    """Return once a chunk that goes on without us is known to run."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while (found := await qpu.ask(chunk)) is not None:
            assert found.kind is OutcomeKind.UNANSWERED, found
            await asyncio.sleep(0.02)


async def stopped(qpu: QpuAdapter, chunk: ChunkId) -> ChunkOutcome:
    """Stop a chunk; its outcome."""
    waiting = asyncio.ensure_future(qpu.wait(chunk))
    await bounded(qpu.stop(chunk))
    return await bounded(waiting)


async def check_start(
    subject: Subject, directory: Path, moment: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """Close it under a start; what became of the start, and what is found of the chunk, agree."""
    qpu, one = subject.qpu, order(subject.programs[0])
    before = None if subject.begun is None else subject.begun()
    starting = asyncio.ensure_future(qpu.start(one))
    await moment()
    await opened_anew(subject, directory)
    said: DeviceError | ManagerUnreachable | None = None
    try:
        await bounded(starting)
    except (DeviceError, ManagerUnreachable) as error:
        said = error
    unclear = isinstance(said, ManagerUnreachable)
    found = await known(qpu, one.chunk, UNCLEAR_FOR_S if unclear else ENDS_WITHIN_S)
    if said is None and subject.survives:
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 20), found
    elif said is None:
        assert found.kind in (OutcomeKind.FINISHED, OutcomeKind.STOPPED), found
    elif unclear:
        assert found.kind not in (OutcomeKind.REFUSED, OutcomeKind.FAULT), found
    else:
        assert found.kind is OutcomeKind.NOT_KNOWN, (said, found)
    if before is not None and subject.begun is not None:
        ran = subject.begun() - before
        assert ran == (0 if found.kind is OutcomeKind.NOT_KNOWN else 1) or (unclear and ran <= 1)
    again = await bounded(outcome_of(subject, order(subject.programs[0])))
    assert (again.kind, again.shots) == (OutcomeKind.FINISHED, 20), again


async def test_a_start_under_which_it_is_closed_is_answered_and_its_chunk_runs_once(
    make: Make, tmp_path: Path
) -> None:
    subject = make()
    await subject.qpu.open(SystemClock(), tmp_path)
    try:
        for number in TURNS:
            await check_start(subject, tmp_path, partial(turns, number))
        one, began = order(subject.programs[0]), asyncio.get_running_loop().time()
        await subject.qpu.start(one)
        took_s = asyncio.get_running_loop().time() - began
        await subject.qpu.wait(one.chunk)
        for part in PARTS:
            await check_start(subject, tmp_path, partial(asyncio.sleep, part * took_s))
    finally:
        await subject.qpu.close()


@pytest.mark.parametrize("number", TURNS)
async def test_questions_under_which_it_is_closed_are_answered_and_the_chunk_is_found_again(
    make: Make, tmp_path: Path, number: int
) -> None:
    subject = make()
    qpu, one = subject.qpu, subject.long_order()
    await qpu.open(SystemClock(), tmp_path)
    try:
        await qpu.start(one)
        waiting = asyncio.ensure_future(qpu.wait(one.chunk))
        asking = asyncio.ensure_future(qpu.ask(one.chunk))
        looking = asyncio.ensure_future(qpu.health())
        description = asyncio.ensure_future(told(qpu.describe()))
        await turns(number)
        await opened_anew(subject, tmp_path)
        left = OutcomeKind.UNANSWERED if subject.survives else OutcomeKind.STOPPED
        assert (await bounded(waiting)).kind is left
        answer = await bounded(asking)
        assert answer is None or answer.kind in (left, OutcomeKind.UNANSWERED), answer
        assert isinstance(await bounded(looking), Health)
        assert isinstance(await bounded(description), DeviceDescription | DeviceError)
        if subject.survives:
            await found_running(qpu, one.chunk)
        assert (await stopped(qpu, one.chunk)).kind is OutcomeKind.STOPPED
    finally:
        await qpu.close()


@pytest.mark.parametrize("number", TURNS)
async def test_a_stop_under_which_it_is_closed_ends_and_can_be_told_again(
    make: Make, tmp_path: Path, number: int
) -> None:
    subject = make()
    qpu, one = subject.qpu, subject.long_order()
    await qpu.open(SystemClock(), tmp_path)
    try:
        await qpu.start(one)
        stopping = asyncio.ensure_future(qpu.stop(one.chunk))
        await turns(number)
        await opened_anew(subject, tmp_path)
        await bounded(stopping)
        while (found := await bounded(qpu.ask(one.chunk))) is None:
            found = await stopped(qpu, one.chunk)
        assert found.kind in (OutcomeKind.STOPPED, OutcomeKind.UNANSWERED)
        found = await known(qpu, one.chunk, ENDS_WITHIN_S)
        assert found.kind is OutcomeKind.STOPPED, found
    finally:
        await qpu.close()


async def test_while_it_is_closed_it_takes_nothing_and_says_nothing_of_what_goes_on(
    make: Make, tmp_path: Path
) -> None:
    subject = make()
    qpu, one = subject.qpu, subject.long_order()
    await qpu.open(SystemClock(), tmp_path)
    try:
        await qpu.start(one)
        await qpu.close()
        left = OutcomeKind.UNANSWERED if subject.survives else OutcomeKind.STOPPED
        for ask in (qpu.wait, qpu.ask):
            found = await bounded(ask(one.chunk))
            assert found is not None
            assert found.kind is left
        await bounded(qpu.stop(one.chunk))
        with pytest.raises(DeviceError):
            await bounded(qpu.start(order(subject.programs[0])))
        assert isinstance(await bounded(told(qpu.describe())), DeviceError)
        assert (await bounded(qpu.health())).state is QpuState.DOWN
        await qpu.open(SystemClock(), tmp_path)
        if subject.survives:
            await found_running(qpu, one.chunk)
        assert (await stopped(qpu, one.chunk)).kind is OutcomeKind.STOPPED
    finally:
        await qpu.close()


async def told(describing: Awaitable[DeviceDescription]) -> DeviceDescription | DeviceError:
    """The description, or why there is none."""
    try:
        return await describing
    except DeviceError as error:
        return error
