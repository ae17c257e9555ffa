"""The store on an SQL database: one writer thread, a few reading threads.

    apply -> writer (groups) -> changes (SQL) -> one transaction, fenced
    reads -> thread pool -> queries -> rows

A transaction first checks that no newer incarnation of the manager has opened
the store; a batch is applied completely or not at all. After ManagerBusy the
same batch may be handed in again. Batches are applied in the order of the
calls; one that failed is overtaken by those after it, so whoever tries it
again keeps dependent ones back. Reads see every batch whose `apply` returned.

One class, and therefore longer than other files: nearly each of its methods is one line.
All that is particular to a database is in a module of its own (`sqlite`, `postgresql`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from qpu_executor.cancellation import in_thread_to_its_end
from qpu_executor.errors import ManagerBusy, QpuExecutorError, StoreError
from qpu_executor.manager.store import pruning, reading
from qpu_executor.manager.store.address import named_database, shown
from qpu_executor.manager.store.change_records import Change
from qpu_executor.manager.store.claiming import claim
from qpu_executor.manager.store.committing import Commits
from qpu_executor.manager.store.database import Database, in_use
from qpu_executor.manager.store.pruning import Prunable
from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    SessionTotals,
    Snapshot,
    TaskFilter,
    TaskRow,
    TokenRow,
    UsageRow,
)
from qpu_executor.manager.store.writer import Writer
from qpu_executor.model.values import Instant

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Opened:
    """What exists only between `open` and `close`."""

    database: Database
    write_engine: Engine
    read_engine: Engine
    writer: Writer
    pool: ThreadPoolExecutor
    incarnation: int


class SqlStore:
    """A `Store` in an SQL database.

    `url_or_path`: a path, `sqlite:///path`, or `postgresql://user@host/database`.
    `password_file`: what that user proves to be that user with, where it takes a password.
    `busy_timeout_s`: how long a write waits for another process that has locked the
    database. `lease_s`: after how long a silence a manager loses a PostgreSQL store.
    `readers`: reads that may run at once. `restored`: a backup was put in place.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        password_file: Path | None = None,
        busy_timeout_s: float = 5.0,
        lease_s: float = 10.0,
        readers: int = 4,
        restored: bool = False,
    ) -> None:
        self._restored = restored
        self._address = url_or_path
        self._password_file = password_file
        self._busy_timeout_s = busy_timeout_s
        self._lease_s = lease_s
        self._readers = readers
        self._locked: Database | None = None
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()
        self._loss: asyncio.Future[StoreError] | None = None

    @property
    def incarnation(self) -> int:
        """Number of this opening of the store. Raises StoreError where it isn't open."""
        return self._open_now().incarnation

    @property
    def surely_ours(self) -> bool:
        """False where so long was heard nothing that another manager may have the store."""
        return self._open_now().database.surely_ours

    async def lost(self) -> StoreError:
        """Wait until another manager turns out to have the store; why this one is none."""
        assert self._loss is not None
        return await asyncio.shield(self._loss)

    async def stand_by(self, told: Callable[[str], None], every_s: float = 1.0) -> None:
        """Wait until no other manager has the store, and lock it; `open` is to follow.

        Calls `told` with who has it (or why the database can't be asked) whenever that
        changes. Raises ConfigError and StoreError as `open` does.
        """
        said = ""
        while True:
            async with self._opening:
                pause_s = every_s
                try:
                    refusal: QpuExecutorError | None = await in_thread_to_its_end(self._lock)
                except ManagerBusy as error:
                    # After an outage its manager goes first: it knows what runs.
                    refusal, pause_s = error, self._lease_s
                except asyncio.CancelledError:
                    await self._let_go()
                    raise
            if refusal is None:
                return
            if refusal.message != said:
                said = refusal.message
                told(said)
            await asyncio.sleep(pause_s)

    async def open(self) -> None:
        """Lock, migrate and fence.

        Raises ConfigError for an address that names no store, and StoreError where
        the store is in use, newer, foreign, damaged or not writable.
        """
        async with self._opening:
            if self._opened is not None:
                raise StoreError("the store is open already", where=shown(self._address))
            self._loss = asyncio.get_running_loop().create_future()
            try:
                await in_thread_to_its_end(self._lock_and_open)
            except asyncio.CancelledError:
                await self._let_go()
                raise

    async def close(self) -> None:
        """Finish what was handed in, join the threads, give up the lock. May be called twice."""
        async with self._opening:
            await self._let_go()

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply all changes durably in one transaction, or none.

        Raises ManagerBusy (the same may be tried again) or StoreError (in vain).
        Cancelling the wait doesn't take the changes back.
        """
        await self._open_now().writer.write(tuple(changes))

    async def load(self) -> Snapshot:
        """What the manager starts from; tasks that have ended aren't read."""
        return await self._read(reading.snapshot)

    async def task(self, task_id: int) -> TaskRow | None:
        """One task."""
        return await self._read(reading.task, task_id)

    async def tasks(self, which: TaskFilter) -> list[TaskRow]:
        """A page of tasks in the order of their ids."""
        return await self._read(reading.tasks, which)

    async def tasks_by_key(self, owner: str, keys: Collection[str]) -> dict[str, TaskRow]:
        """The newest generation of each key that names a task of this owner."""
        return await self._read(reading.tasks_by_key, owner, keys)

    async def chunks(self, task_ids: Collection[int]) -> dict[int, list[ChunkRow]]:
        """All chunks of these tasks, in order (a task without chunks has an empty list)."""
        return await self._read(reading.chunks, task_ids)

    async def programs(self, hashes: Collection[str]) -> dict[str, ProgramRow]:
        """Those of these programs that are stored."""
        return await self._read(reading.programs, hashes)

    async def program_owners(self, hash_: str) -> set[str]:
        """Owners of tasks that use a program (who may read it)."""
        return await self._read(reading.program_owners, hash_)

    async def session(self, session_id: str) -> SessionRow | None:
        """One session."""
        return await self._read(reading.session, session_id)

    async def session_by_key(self, owner: str, key: str) -> SessionRow | None:
        """The session that this owner opened with this key."""
        return await self._read(reading.session_by_key, owner, key)

    async def sessions(self, owner: str | None) -> list[SessionRow]:
        """Sessions, newest first; None: everybody's."""
        return await self._read(reading.sessions, owner)

    async def session_totals(self, session_ids: Collection[str]) -> dict[str, SessionTotals]:
        """What each of these sessions has had, counted from the rows of tasks and chunks."""
        return await self._read(reading.session_totals, session_ids)

    async def live_task_ids(self, session_id: str) -> list[int]:
        """Tasks of a session that haven't ended, in the order of their ids."""
        return await self._read(reading.live_task_ids, session_id)

    async def journal(
        self,
        after: int,
        *,
        owner: str | None = None,
        session_id: str | None = None,
        states_only: bool = False,
        limit: int = 1000,
    ) -> list[JournalRow]:
        """Journal rows with a number above `after`, in order. `states_only`: task state changes."""
        return await self._read(reading.journal, after, owner, session_id, states_only, limit)

    async def audit(self, before: int | None, since: Instant, limit: int) -> list[JournalRow]:
        """Rows of the audit log below a number (None: all), not before an instant; newest first."""
        return await self._read(reading.audit, before, since, limit)

    async def expirable(self, before: Instant, after_id: int, limit: int) -> list[TaskRow]:
        """Tasks that ended before an instant and haven't expired, of no open session, by id."""
        return await self._read(pruning.expirable, before, after_id, limit)

    async def old_journal(self, which: Prunable, after: int, limit: int) -> list[int]:
        """Numbers of journal rows that nothing needs any more, above a number, in order."""
        return await self._read(pruning.old_journal, which, after, limit)

    async def old_sessions(self, before: Instant, limit: int) -> list[str]:
        """Sessions that were closed before an instant and have no task left."""
        return await self._read(pruning.old_sessions, before, limit)

    async def journal_rows(self, numbers: Collection[int]) -> list[JournalRow]:
        """Journal rows by number, in order."""
        return await self._read(pruning.journal_rows, numbers)

    async def prunable(self, which: Prunable) -> tuple[int, int]:
        """How many tasks and journal rows could be pruned now."""
        return await self._read(pruning.counts, which)

    async def token(self, token_id: str) -> TokenRow | None:
        """One bearer token."""
        return await self._read(reading.token, token_id)

    async def tokens(self) -> list[TokenRow]:
        """All bearer tokens, oldest first."""
        return await self._read(reading.tokens)

    async def usage(self, since: Instant) -> list[UsageRow]:
        """What was charged since an instant, by user, class and minute; oldest first."""
        return await self._read(reading.usage, since)

    async def history(self, task_ids: Collection[int]) -> dict[int, list[JournalRow]]:
        """State changes of these tasks, in order (a task without any has an empty list)."""
        return await self._read(reading.history, task_ids)

    # -- opening and closing, off the loop ----------------------------------------------

    async def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        locked, self._locked = self._locked, None
        if opened is not None:
            await in_thread_to_its_end(_close, opened)
        elif locked is not None:
            await in_thread_to_its_end(locked.release)

    def _lock(self) -> StoreError | None:
        """Take the lock, unless we have it. None, or the error that says who holds it."""
        if self._locked is None:
            database = named_database(
                self._address,
                password_file=self._password_file,
                busy_timeout_s=self._busy_timeout_s,
                lease_s=self._lease_s,
                readers=self._readers,
            )
            holder = database.lock()
            if holder is not None:
                return in_use(holder, database.where)
            self._locked = database
        return None

    def _lock_and_open(self) -> None:
        try:
            refusal = self._lock()
        except ManagerBusy as error:
            refusal = StoreError(
                error.message,
                where=error.where,
                next_step="check the store's address and the database, and start again",
            )
        if refusal is not None:
            raise refusal
        assert self._locked is not None
        try:
            self._open(self._locked)
        except BaseException as error:
            database, self._locked = self._locked, None
            database.release()
            if isinstance(error, QpuExecutorError) or not isinstance(error, Exception):
                raise
            raise database.translate_opening(error) from None

    def _open(self, database: Database) -> None:
        database.prepare(restored=self._restored)
        write_engine = database.write_engine()
        try:
            incarnation, number = claim(write_engine, database, restored=self._restored)
        except BaseException:
            write_engine.dispose()
            raise
        database.on_loss(self._tell_loss)
        opened = _Opened(
            database=database,
            write_engine=write_engine,
            read_engine=database.read_engine(),
            writer=Writer(Commits(write_engine, database, incarnation, number)),
            pool=ThreadPoolExecutor(self._readers, thread_name_prefix="store-read"),
            incarnation=incarnation,
        )
        opened.writer.start()
        self._opened = opened

    def _tell_loss(self, error: StoreError) -> None:
        """In the thread that looks after the lock."""
        assert self._loss is not None
        loss = self._loss
        with suppress(RuntimeError):  # that loop is closed: nobody waits any more
            loss.get_loop().call_soon_threadsafe(
                lambda: None if loss.done() else loss.set_result(error)
            )

    # -- reading ------------------------------------------------------------------------

    def _open_now(self) -> _Opened:
        if self._opened is None:
            raise StoreError(
                "the store isn't open", where=shown(self._address), next_step="start the manager"
            )
        return self._opened

    async def _read(self, read: Callable[..., Answer], *arguments: object) -> Answer:
        """Run `read(connection, *arguments)` in a reading thread, in one transaction."""
        opened = self._open_now()
        database = opened.database

        def run() -> Answer:
            try:
                with opened.read_engine.connect() as connection:
                    return read(connection, *arguments)
            except database.errors as error:
                raise database.translate(error) from None
            except (LookupError, TypeError, ValueError) as error:
                raise database.damaged(f"a row can't be understood ({error!r})") from None

        return await asyncio.get_running_loop().run_in_executor(opened.pool, run)


def _close(opened: _Opened) -> None:
    opened.writer.stop()
    opened.pool.shutdown()
    opened.read_engine.dispose()
    opened.write_engine.dispose()  # last: it may move the WAL into the database
    opened.database.release()
