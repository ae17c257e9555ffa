"""The thread of a client, and what is left of it in a forked process."""

from __future__ import annotations

import os
import threading

import pytest

from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.errors import CallerError


async def nothing() -> None:
    """Done at once."""


def test_forked_process_is_told_even_where_the_fork_came_while_a_thread_had_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = LoopThread("t")
    thread.start()
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with thread._lock:
            held.set()
            let_go.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    held.wait()
    told: list[str] = []

    def use() -> None:
        for act in (lambda: thread.run(nothing()), lambda: thread.soon(lambda: None)):
            with pytest.raises(CallerError, match="can't be used after a fork") as caught:
                act()
            told.append(str(caught.value.next_step))

    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        user = threading.Thread(target=use, daemon=True)
        user.start()
        user.join(30)
    let_go.set()
    holder.join()
    thread.stop(nothing)
    assert told == ["connect(client.url) in the new process"] * 2
