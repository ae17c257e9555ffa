"""The inbox: what is urgent is taken at once, what may wait is taken with it."""

from __future__ import annotations

import asyncio

from qpu_executor.manager.service.inbox import Inbox


async def test_what_may_wait_is_taken_with_the_next_urgent_item() -> None:
    inbox: Inbox[str] = Inbox()
    taking = asyncio.create_task(inbox.take())
    inbox.post("patient", within_s=3600)
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.post("urgent")
    assert await taking == ["patient", "urgent"]


async def test_what_may_wait_is_taken_alone_in_the_end() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.post("patient", within_s=0.001)
    inbox.post("behind it", within_s=3600)
    assert await asyncio.wait_for(inbox.take(), 60) == ["patient", "behind it"]


async def test_the_wait_of_what_was_taken_wakes_nobody_later() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.post("patient", within_s=0.001)
    inbox.post("urgent")
    assert await inbox.take() == ["patient", "urgent"]
    taking = asyncio.create_task(inbox.take())
    await asyncio.sleep(0.01)
    assert not taking.done()
    inbox.post("next")
    assert await taking == ["next"]
