"""Who follows a job, or waits for an SDK, ends when told so: at whatever turn of the loop."""

import asyncio
import threading

import pytest

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.blocking_calls import BlockingCalls
from qpu_executor.qpus.job_following import JobFollowing, Looks
from qpu_executor.qpus.job_polling import Pauses, ShotTime
from qpu_executor.qpus.job_service import JobProgress, JobState
from qpu_executor.qpus.pasqal_controller.connection import Connection
from qpu_executor.qpus.pasqal_controller.following import Followed, Follower
from qpu_executor.qpus.pasqal_controller.outcomes import Stay
from qpu_executor.qpus.pasqal_controller.pace import Pace
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings

SETTLED = 10
"""Turns of the loop after which a coroutine has come to where it waits."""
ENDS_WITHIN_S = 60.0

at_each_turn = pytest.mark.parametrize("number", range(7))


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


async def ends(task):
    """Cancel it once; it has to end."""
    task.cancel()
    try:
        done, _ = await asyncio.wait({task}, timeout=ENDS_WITHIN_S)
        assert done, "the cancellation was swallowed"
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)


@at_each_turn
async def test_who_follows_a_job_of_a_service_ends_although_it_was_nudged_just_before(number):
    async def runs(_):
        return JobProgress(JobState.RUNNING)

    job = JobFollowing(
        "job",
        10,
        Looks(runs, runs, {}),
        pauses=Pauses(3600.0, 3600.0),
        shot_time=ShotTime(None),
        silent_after_s=3600.0,
        on_silence=print,
    )
    task = asyncio.ensure_future(job.to_the_end(at_once=False))
    await turns(SETTLED)
    job.nudge()
    await turns(number)
    await ends(task)


@at_each_turn
async def test_who_follows_a_job_of_a_controller_ends_although_it_was_to_look_just_before(number):
    settings = ControllerSettings.read("fresnel", {"url": "http://127.0.0.1:1"})
    seconds = asyncio.get_running_loop().time

    def silent(*_):
        """Nobody is told."""

    pace = Pace(3600.0, 0.0)
    follower = Follower(Connection(settings), settings, pace, seconds, silent, silent)
    now_s = seconds()
    job = Followed(ChunkId(1, 0), 7, "mark", Stay(10, 2, sent_s=now_s, accepted_s=now_s))
    task = asyncio.ensure_future(follower.follow(job))
    await turns(SETTLED)
    job.look_now.set()
    await turns(number)
    await ends(task)


@at_each_turn
async def test_a_call_that_is_cancelled_as_it_comes_back_ends_and_its_answer_is_late(number):
    calls, begun, release = BlockingCalls("sdk", 1), threading.Event(), threading.Event()
    late: list[str] = []

    def send():
        begun.set()
        release.wait()
        return "sent"

    task = asyncio.ensure_future(calls.run(send, deadline_s=3600.0, late=late.append))
    await asyncio.to_thread(begun.wait)
    (thread,) = (one for one in threading.enumerate() if one.name == "sdk")
    release.set()
    thread.join()  # its answer is the next thing that the loop does
    await turns(number)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
        assert late == ["sent"]
    assert await calls.run(int, deadline_s=3600.0) == 0


async def test_an_answer_that_comes_with_the_end_of_the_time_is_taken(monkeypatch):
    calls, loop, later_s = BlockingCalls("sdk", 1), asyncio.get_running_loop(), [0.0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + later_s[0])

    def send():
        loop.call_soon_threadsafe(both_come, threading.current_thread())
        return "sent"

    def both_come(thread):
        thread.join()
        later_s[0] = 3600.0

    assert await calls.run(send, deadline_s=3600.0) == "sent"
