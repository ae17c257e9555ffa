import asyncio
import threading

import pytest

from qpu_executor.qpus.blocking_calls import BlockingCalls, CallHungError


async def test_a_call_gives_its_result_and_its_error():
    calls = BlockingCalls("test", 2)
    assert await calls.run(int, "7", deadline_s=5) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await calls.run(int, "seven", deadline_s=5)


class AnSdkOfItsOwnError(BaseException):
    """As some SDKs have them."""


@pytest.mark.parametrize("error", [AnSdkOfItsOwnError("x"), StopIteration(), SystemExit(3)])
async def test_what_no_future_takes_comes_as_an_ordinary_error(error):
    def fail():
        raise error

    with pytest.raises(RuntimeError):
        await BlockingCalls("test", 1).run(fail, deadline_s=5)


async def test_a_timeout_of_the_call_itself_is_no_hang():
    def fail():
        raise TimeoutError("of the SDK")

    with pytest.raises(TimeoutError, match="of the SDK"):
        await BlockingCalls("test", 1).run(fail, deadline_s=5)


async def test_a_hung_call_is_given_up_and_what_it_brings_late_is_taken():
    calls, release = BlockingCalls("test", 2), threading.Event()
    late: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hang():
        release.wait()
        return "at last"

    with pytest.raises(CallHungError, match=r"no answer within 0\.05 s"):
        await calls.run(hang, deadline_s=0.05, late=late.set_result)
    assert calls.hung == 1
    assert await calls.run(str, 1, deadline_s=5) == "1"
    release.set()
    assert await late == "at last"
    assert calls.hung == 0


async def test_an_error_that_comes_late_is_dropped():
    calls, release, late = BlockingCalls("test", 1), threading.Event(), []

    def hang():
        release.wait()
        raise ValueError("too late")

    with pytest.raises(CallHungError):
        await calls.run(hang, deadline_s=0.05, late=late.append)
    release.set()
    assert await calls.run(str, 1, deadline_s=5) == "1"
    assert late == []


async def test_no_more_calls_than_allowed_are_under_way():
    calls, release = BlockingCalls("test", 2), threading.Event()
    hung = [asyncio.create_task(calls.run(release.wait, deadline_s=0.05)) for _ in range(2)]
    assert all(
        isinstance(one, CallHungError)
        for one in await asyncio.gather(*hung, return_exceptions=True)
    )
    with pytest.raises(CallHungError, match="all 2 calls"):
        await calls.run(str, 1, deadline_s=0.05)
    release.set()
    assert await calls.run(str, 1, deadline_s=5) == "1"


async def test_a_call_whose_caller_was_cancelled_still_tells_what_it_brought():
    calls, begun, release = BlockingCalls("test", 1), threading.Event(), threading.Event()
    late: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def slow():
        begun.set()
        release.wait()
        return "sent"

    task = asyncio.create_task(calls.run(slow, deadline_s=60, late=late.set_result))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await late == "sent"


async def test_a_thread_that_can_t_be_started_takes_no_place(monkeypatch):
    calls = BlockingCalls("test", 1)

    def none_left(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        for _ in range(2):
            with pytest.raises(CallHungError, match="no thread can be started"):
                await calls.run(int, deadline_s=0.1)
    assert await calls.run(int, deadline_s=10) == 0
