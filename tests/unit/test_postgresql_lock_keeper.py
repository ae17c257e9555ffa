"""The thread that looks after a store's lock, without a database."""

from __future__ import annotations

import threading
from typing import Any

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.postgresql_lock import AdvisoryLock


class Session:
    """Gives the lock; signs of life are counted, and the first goes wrong."""

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
        assert session.again.wait(10)
        assert not told
    finally:
        lock.release()
