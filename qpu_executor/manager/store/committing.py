"""One transaction of the writer: fenced, numbered, and never applied twice.

Each transaction counts up a number in the row that also holds the incarnation, so that
one statement finds out whether a newer incarnation has taken over, keeps others out
until the transaction ends, and leaves a mark. Where a COMMIT isn't answered, that mark
says later whether it went in: its batches were answered with ManagerBusy, and those who
hand them in again are told that they are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from sqlalchemy import Connection, Engine

from qpu_executor.errors import QpuExecutorError, StoreError
from qpu_executor.manager.store import changes as sql_changes
from qpu_executor.manager.store import queries
from qpu_executor.manager.store.change_records import Change
from qpu_executor.manager.store.database import Database, taken_over
from qpu_executor.manager.store.prepared import Prepared

Batch = Sequence[Change]

_REMEMBERED = 1000
"""Batches that went in unanswered, and that nobody asked about yet. Who gives up never does."""


class Commits:
    """Runs batches of changes in transactions of one incarnation, on one thread.

    `number`: of the newest transaction that went in before this incarnation.
    """

    def __init__(self, engine: Engine, database: Database, incarnation: int, number: int) -> None:
        self._engine = engine
        self._database = database
        self._incarnation = incarnation
        self._number = number
        self._prepared = Prepared(engine.dialect)
        self._in_doubt: tuple[Batch, ...] | None = None
        self._went_in: list[Batch] = []

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Apply these batches in one transaction.

        Raises ManagerBusy (the same batches may be handed in again, and are applied once)
        or StoreError, having changed nothing.
        """
        database = self._database
        try:
            database.check()
            with self._engine.connect() as connection:
                self._transact(connection, batches)
        except QpuExecutorError:
            raise
        except database.errors as error:
            raise database.translate(error) from None
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"a value can't be stored ({error})", where=database.where) from None

    def _transact(self, connection: Connection, batches: Sequence[Batch]) -> None:
        try:
            with connection.begin() as transaction:
                if self._in_doubt is not None:
                    self._settle(connection, self._in_doubt)
                new = tuple(one for one in batches if not self._is_in(one))
                self._fence(connection)
                changes = list(chain.from_iterable(new))
                sql_changes.write(connection, self._prepared, changes)
                self._in_doubt = new
                transaction.commit()
        except self._database.errors as error:
            # Statements that run past SQLAlchemy don't tell it that their connection broke,
            # and one whose COMMIT failed may still be in its transaction.
            if self._database.lost(error) or self._in_doubt is not None:
                connection.invalidate()
            raise
        self._in_doubt = None
        self._number += 1
        self._went_in = [one for one in self._went_in if not _among(one, batches)]

    def _fence(self, connection: Connection) -> None:
        """Count up, unless the row isn't as this incarnation left it."""
        known = {"of_incarnation": self._incarnation, "of_number": self._number}
        if self._prepared.run(connection, queries.count_up, [known]) != 1:
            incarnation, number = self._stored(connection)
            if incarnation == self._incarnation:
                raise taken_over(
                    f"transaction {number} was written under this one's incarnation, which "
                    f"wrote {self._number}; was a backup put in place?",
                    self._database.where,
                )
            raise taken_over(
                f"incarnation {incarnation}, this one is {self._incarnation}",
                self._database.where,
            )

    def _settle(self, connection: Connection, in_doubt: tuple[Batch, ...]) -> None:
        """Find out whether the transaction in doubt went in; waits for one that still runs."""
        incarnation, number = self._stored(connection)
        if incarnation == self._incarnation and number == self._number + 1:
            self._number = number
            self._went_in = [*self._went_in, *in_doubt][-_REMEMBERED:]
        self._in_doubt = None

    def _stored(self, connection: Connection) -> tuple[int | None, int | None]:
        row = connection.execute(queries.stored_number).first()
        return (None, None) if row is None else (row.incarnation, row.commits)

    def _is_in(self, batch: Batch) -> bool:
        return _among(batch, self._went_in)


def _among(batch: Batch, others: Sequence[Batch]) -> bool:
    """True if one of the others holds the very same changes (not only equal ones)."""
    return any(
        len(batch) == len(other)
        and all(mine is its for mine, its in zip(batch, other, strict=True))
        for other in others
        if other
    )
