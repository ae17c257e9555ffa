"""The thread that looks after a store's lock, without a database."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from qpu_executor.errors import ManagerBusy, StoreError
from qpu_executor.manager.store.postgresql_lock import AdvisoryLock


class Session:
    """Gives the lock; signs of life are counted, and the first goes wrong."""

    answer_s = 60.0

    def __init__(self) -> None:
        self.signs = 0
        self.again = threading.Event()

    def execute(self, statement: Any, parameters: Any = None) -> Session:
        if statement == "SELECT 1":
            self.signs += 1
            if self.signs == 1:
                raise MemoryError
            self.again.set()
        return self

    def fetchone(self) -> tuple[Any, ...]:
        return (True, "now")

    def close(self) -> None:
        """Nothing is held."""


def test_the_keeper_goes_on_after_what_nobody_foresaw() -> None:
    session, told = Session(), list[StoreError]()
    lock = AdvisoryLock(lambda: session, 0.02, "here")  # type: ignore[arg-type,return-value]
    lock.on_loss(told.append)
    assert lock.acquire() is None
    try:
        assert session.again.wait(60)
        assert not told
    finally:
        lock.release()


class Answers(Session):
    """A session for which the lock is free, or not, by turns.

    `tries`: what it hears when it asks for the lock; `holder`: who has it then, as a row.
    """

    def __init__(self, tries: list[bool], holder: tuple[Any, ...] | None = None) -> None:
        super().__init__()
        self.tries = tries
        self.holder = holder
        self.broken = False
        self._row: tuple[Any, ...] | None = None

    def execute(self, statement: Any, parameters: Any = None) -> Session:
        if self.broken:
            raise psycopg.OperationalError("the connection broke")
        said = statement if isinstance(statement, str) else statement.decode()
        if "pg_try_advisory_lock" in said:
            self._row = (self.tries.pop(0),)
        elif "pg_locks" in said:
            self._row = self.holder
        elif "pg_backend_pid" in said:
            self._row = FORMER
        else:
            self._row = None
        return self

    def fetchone(self) -> tuple[Any, ...]:
        return self._row  # type: ignore[return-value]


FORMER = (17, "then")


def lock_that_broke(again: Answers) -> AdvisoryLock:
    """A lock whose connection broke, and that finds this when it connects again."""
    first = Answers([True])
    sessions = [first, again]
    lock = AdvisoryLock(lambda: sessions.pop(0), 300, "here")  # type: ignore[arg-type,return-value]
    assert lock.acquire() is None
    first.broken = True
    lock.doubt()
    return lock


def test_a_lock_refused_that_nobody_is_found_to_have_is_asked_for_again() -> None:
    lock = lock_that_broke(Answers([False, True]))
    lock.ensure()
    lock.release()


@pytest.mark.parametrize("backend_start", ["then", None], ids=["known", "just ended"])
def test_our_own_former_session_is_no_other_manager_even_if_it_ends_meanwhile(
    backend_start: str | None,
) -> None:
    holder = (FORMER[0], backend_start, None, None)
    lock = lock_that_broke(Answers([False], holder))
    with pytest.raises(ManagerBusy, match="former connection"):
        lock.ensure()
    lock.release()


def test_another_session_that_has_the_lock_is_another_manager() -> None:
    lock = lock_that_broke(Answers([False], (18, "now", "qpu manager elsewhere:5", "noon")))
    with pytest.raises(StoreError, match="held by process 5 on elsewhere since noon UTC"):
        lock.ensure()
    lock.release()
