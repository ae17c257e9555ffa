import asyncio

import pytest

from qpu_executor.qpus.shared_runs import SharedRuns


def counted(weights):
    """Runs whose results weigh what `weights` says; the second item counts them."""
    ran: list[str] = []

    async def run(key):
        ran.append(key)
        return weights[key]

    return run, ran


async def asked(runs, run, keys):
    for key in keys:
        await runs.get(key, lambda key=key: run(key))


async def test_the_least_recently_used_result_goes_first():
    runs = SharedRuns[int](max_weight=2, weigh=lambda one: one)
    run, ran = counted({"a": 1, "b": 1, "c": 1})
    await asked(runs, run, ["a", "b", "a", "c", "a", "b"])
    assert ran == ["a", "b", "c", "b"]


async def test_the_newest_result_is_kept_whatever_it_weighs():
    runs = SharedRuns[int](max_weight=2, weigh=lambda one: one)
    run, ran = counted({"small": 1, "huge": 1000})
    await asked(runs, run, ["small", "huge", "huge", "huge", "small", "huge"])
    assert ran == ["small", "huge", "small", "huge"]


async def test_a_failure_is_not_kept():
    runs = SharedRuns[int](max_weight=2, weigh=lambda one: one)

    async def fails():
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await runs.get("a", fails)
    run, ran = counted({"a": 1})
    await asked(runs, run, ["a"])
    assert ran == ["a"]


async def test_the_run_ends_when_the_last_who_waits_leaves():
    runs = SharedRuns[int](max_weight=2, weigh=lambda one: one)
    ended = asyncio.Event()

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    waiting = [asyncio.create_task(runs.get("a", endless)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not ended.is_set()
    waiting[1].cancel()
    await ended.wait()
