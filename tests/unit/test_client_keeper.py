"""The thread that renews a client's leases: what ends it, and what doesn't."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from qpu_executor.client import keeper as keeping
from qpu_executor.client.address import parse_address
from qpu_executor.client.keeper import Keeper
from qpu_executor.errors import InternalError, NotAuthenticated, RequestRefused
from qpu_executor.wire.sessions import HeartbeatOut

ADDRESS = parse_address("http://127.0.0.1:1")
WITHIN_S = 60.0


class Manager:
    """Stands for a manager's answers: those that are given, then one after the other renewal."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.renewed = threading.Event()

    async def call(self, request: Any, model: Any, wait_s: float) -> HeartbeatOut:
        if self.answers:
            raise self.answers.pop(0)
        self.renewed.set()
        return HeartbeatOut(id="s", state="open", lease_s=0.03)


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[[Manager, list[str]], Keeper]:
    def begin(manager: Manager, told: list[str]) -> Keeper:
        monkeypatch.setattr(keeping.Channel, "call", lambda _, *a, **k: manager.call(*a, **k))
        keeper = Keeper(ADDRESS, None, told.append)
        keeper.keep("s", 0.03)
        return keeper

    return begin


@pytest.mark.parametrize(
    "failure",
    [
        NotAuthenticated("munged isn't there"),
        InternalError("the manager's loop failed"),
        RuntimeError("can't start new thread"),
        ValueError("a header that isn't one"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure_that_may_pass_ends_no_renewals(
    keep: Callable[..., Keeper], failure: Exception
) -> None:
    manager, told = Manager(failure, failure), list[str]()
    keeper = keep(manager, told)
    try:
        assert manager.renewed.wait(WITHIN_S)
    finally:
        keeper.close()
    assert manager.answers == []


def test_connection_that_cannot_be_made_is_made_later(
    keep: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = keeping.Transport.start, [OSError("SSL_CERT_FILE isn't there")]

    async def broken_once(self: Any) -> None:
        if failures:
            raise failures.pop()
        await start(self)

    monkeypatch.setattr(keeping.Transport, "start", broken_once)
    manager = Manager()
    keeper = keep(manager, [])
    try:
        assert manager.renewed.wait(WITHIN_S)
    finally:
        keeper.close()


def test_session_that_the_manager_calls_closed_is_renewed_no_more(
    keep: Callable[..., Keeper],
) -> None:
    said = threading.Event()
    told: list[str] = []

    class Told(list[str]):
        def append(self, text: str) -> None:
            told.append(text)
            said.set()

    manager = Manager(RequestRefused("session s is closed"))
    keeper = keep(manager, Told())
    assert said.wait(WITHIN_S)
    keeper.close()
    assert "isn't renewed any more" in told[0]
    assert not manager.renewed.is_set()
