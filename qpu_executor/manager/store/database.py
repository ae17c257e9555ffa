"""What a store needs of a database, beside SQL: a lock, engines, and what its errors mean.

One module for each database: `sqlite`, `postgresql`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Engine

from qpu_executor.errors import QpuExecutorError, StoreError


class Database(Protocol):
    """One database, which one manager at a time has locked."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its engines raise; `translate` says what it means."""

    @property
    def where(self) -> str:
        """What an error calls this store; holds no password."""

    def lock(self) -> str | None:
        """Take the lock without waiting. None, or (where it is taken) who holds it since when.

        Raises ManagerBusy where it may be there later, and StoreError where it won't.
        """

    def prepare(self, *, restored: bool) -> None:
        """With the lock: refuse what isn't ours, make what is new. Raises StoreError.

        `restored`: a backup was put in place; nothing new is made then.
        """

    def release(self) -> None:
        """Give up the lock. May be called twice."""

    def on_loss(self, tell: Callable[[StoreError], None]) -> None:
        """Call `tell` (in any thread, once) when another manager turns out to have the lock."""

    def check(self) -> None:
        """Before each write: the store is there, and locked by us.

        Raises ManagerBusy where that may come back, and StoreError where it won't.
        """

    @property
    def surely_ours(self) -> bool:
        """False where so long was heard nothing that another manager may have the lock."""

    def write_engine(self) -> Engine:
        """For the one writer."""

    def read_engine(self) -> Engine:
        """For readers: a transaction sees one state of the store."""

    def lost(self, error: Exception) -> bool:
        """True where the error says that its connection is gone."""

    def translate(self, error: Exception) -> QpuExecutorError:
        """What a failed read or write means: ManagerBusy where it may pass, else StoreError."""

    def translate_opening(self, error: Exception) -> StoreError:
        """The same while the store opens: nobody waits yet, so an operator has to act."""

    def damaged(self, what: str) -> StoreError:
        """The error for content that can't be ours as it is."""


def not_restored(where: str) -> StoreError:
    """The error of a manager that is to go on from a backup, where there is none."""
    return StoreError(
        "no backup was put in place: there is no store",
        where=where,
        expected="with `--restored`, the store that was restored",
        next_step="put the backup in place, or name its place in `manager.store`; "
        "a new store is made without `--restored`",
    )


def in_use(holder: str, where: str) -> StoreError:
    """The error of a second manager; `holder`: who has the store since when."""
    return StoreError(
        f"the store is in use by {holder}",
        where=where,
        expected="one manager per store",
        next_step="use that manager, stop it first, wait for its end (`qpu serve --standby`), "
        "or give this one another store",
    )


def taken_over(what: str, where: str) -> StoreError:
    """The error of a manager that is none any more."""
    return StoreError(
        f"another manager has taken over the store ({what})",
        where=where,
        next_step="stop this manager; the other one goes on with its tasks",
    )
