"""What is particular to SQLite: the file and its lock, connections, and what its errors mean.

The database runs in WAL mode (readers and the writer don't wait for each other)
with `synchronous=FULL` (a commit is on the disk when it returns), so it must lie
on a local file system. SQLite moves the WAL into the database by itself, after
every 1000 pages and when the last connection closes: nothing here triggers it. The WAL
has its full size from the start: a commit that lengthens a file costs the disk a second
write, of the file's size, and the first hundreds of a store would.
Beside `<store>` lie `<store>.lock`, and `-wal` and `-shm` while it is open.

A file is recognised by SQLite's application id, which is read from its header:
a file that isn't ours is never opened by SQLite, and so stays untouched.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from qpu_executor.errors import ManagerBusy, QpuExecutorError, StoreError
from qpu_executor.manager.store.database import not_restored
from qpu_executor.manager.store.lock import FileLock

log = logging.getLogger(__name__)

APPLICATION_ID = 0x51505545
"""'QPUE', in bytes 68 to 71 of the file."""

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100

_LOG_BYTES = 1000 * 4096
"""What the WAL grows to before SQLite moves it into the database: 1000 pages."""
_KEPT_BACK = 50 * 4096
"""More than what stays in the smallest cache, and so doesn't reach the WAL."""

_MAY_PASS = {
    sqlite3.SQLITE_BUSY: "another process keeps the store locked",
    sqlite3.SQLITE_LOCKED: "the store is locked",
    sqlite3.SQLITE_NOMEM: "there is no memory left for the store",
    sqlite3.SQLITE_READONLY: "the store can't be written to",
    sqlite3.SQLITE_INTERRUPT: "the store was interrupted",
    sqlite3.SQLITE_IOERR: "reading or writing the store failed",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the store can't be opened",
    sqlite3.SQLITE_PROTOCOL: "the store's lock can't be had",
}
_REFUSED = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}

_RESTORE = "restore a backup of the file, or move it away to start with an empty store"


class SqliteDatabase:
    """One SQLite file, a `Database`: prepares and locks it, makes engines, translates errors."""

    errors: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error)
    """What its engines raise; `translate` says what it means."""

    def __init__(self, path: Path, *, busy_timeout_s: float, readers: int) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._readers = readers
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._inode = 0

    @property
    def where(self) -> str:
        """What an error calls this store."""
        return f"store {self._path}"

    def lock(self) -> str | None:
        """Make the directory and take the lock. None, or who holds it since when.

        Raises StoreError where there can be no lock.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._lock.acquire()
        except OSError as error:
            raise self._unusable(error) from None

    def prepare(self, *, restored: bool) -> None:
        """Refuse what isn't ours, and make the file if it's new. Raises StoreError.

        Of a backup that was put in place SQLite wouldn't know that a `-wal` beside it belongs
        to another file, and would play it into this one.
        """
        try:
            if self._is_new():
                if restored:
                    raise not_restored(self.where)
                self._create()
            elif restored and self._wal_size():
                raise StoreError(
                    "beside the backup lies the -wal file of the store that was there before",
                    where=self.where,
                    expected="the backup alone, as `qpu admin backup` wrote it",
                    next_step=f"remove {self._path.name}-wal and {self._path.name}-shm; if a "
                    "manager has run with `--restored` already, leave them and that option out",
                )
            self._path.chmod(0o600)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            raise self._unusable(error) from None
        except sqlite3.Error as error:
            raise self.translate_opening(error) from None

    def release(self) -> None:
        """Give up the lock. May be called twice."""
        self._lock.release()

    def on_loss(self, tell: Callable[[StoreError], None]) -> None:
        """Nobody takes a file's lock from a process that lives."""

    @property
    def surely_ours(self) -> bool:
        """True as long as this process lives."""
        return True

    def lost(self, error: Exception) -> bool:
        """False: connections to a file don't get lost."""
        return False

    def check(self) -> None:
        """Before each write: a file that was deleted would take writes and keep nothing."""
        try:
            inode = self._path.stat().st_ino
        except OSError:
            raise ManagerBusy(
                "the store's file is gone", where=self.where, next_step="move it back"
            ) from None
        if inode != self._inode:
            raise StoreError(
                "the store's file was replaced while in use",
                where=self.where,
                next_step="stop this manager, put the right file in place, and start it again",
            )

    def write_engine(self) -> Engine:
        """For the one writer: a transaction takes the write lock when it begins."""
        pragmas = ("synchronous=FULL", "foreign_keys=ON")
        return self._engine(1, "BEGIN IMMEDIATE", pragmas, self._lengthen_log)

    def read_engine(self) -> Engine:
        """For readers: a transaction sees one state of the store."""
        return self._engine(self._readers, "BEGIN", ("query_only=ON",), lambda connection: None)

    def translate(self, error: Exception) -> QpuExecutorError:
        """What a failed read or write means: ManagerBusy where it may pass, else StoreError."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in _MAY_PASS:
            return ManagerBusy(
                f"{_MAY_PASS[primary]} ({cause})",
                where=self.where,
                next_step="nothing was changed; the same can be tried again once that is over",
            )
        if primary in _REFUSED:
            return StoreError(
                f"the store refuses this ({cause})",
                where=self.where,
                next_step="report this: the manager asked its store for the impossible",
            )
        return self.damaged(str(cause))

    def translate_opening(self, error: Exception) -> StoreError:
        """The same while the store opens: nobody waits yet, so an operator has to act."""
        found = self.translate(error)
        if isinstance(found, StoreError):
            return found
        return StoreError(
            found.message,
            where=self.where,
            next_step="check the file, its directory and the free space, and start again",
        )

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(
            f"the file can't be used ({error.strerror})",
            where=self.where,
            expected="a file, in a directory that the manager may write to",
            next_step="check the path and its permissions",
        )

    def _is_new(self) -> bool:
        """True for a file that is to be made. Raises StoreError for one that isn't ours."""
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            header, size = b"", 0
        wal_size = self._wal_size()
        if size == 0:
            if wal_size:  # SQLite would throw away what only the WAL has
                raise self.damaged("the file is empty or missing, but its -wal file isn't")
            return True
        if not header.startswith(_MAGIC):
            raise StoreError(
                "this is no SQLite database",
                where=self.where,
                expected="a store of qpu-executor, or no file",
                next_step=f"give another path; if it was a store: {_RESTORE}",
            )
        if size < _HEADER_BYTES:
            raise self.damaged("the file is cut off")
        if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise StoreError(
                "this is another program's database",
                where=self.where,
                expected="a store of qpu-executor, or no file",
                next_step="give another path",
            )
        page_size = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big")
        if not wal_size and size < pages * (65536 if page_size == 1 else page_size):
            raise self.damaged("the file is cut off")
        return False

    def _wal_size(self) -> int:
        wal = self._path.with_name(self._path.name + "-wal")
        return wal.stat().st_size if wal.exists() else 0

    def damaged(self, what: str) -> StoreError:
        """The error for content that can't be ours as it is."""
        return StoreError(f"the store is damaged: {what}", where=self.where, next_step=_RESTORE)

    def _create(self) -> None:
        """Make an empty database that carries our mark before anything else."""
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(
                f"the file system doesn't support write-ahead logging (SQLite stays in {mode!r})",
                where=self.where,
                next_step="put the store on a local disk",
            )

    def _lengthen_log(self, connection: sqlite3.Connection) -> None:
        """Give the WAL its full size, by a transaction too large for the cache that is rolled back.

        Where that fails the store is merely slower for a while; what is wrong with the disk
        is said by the first write that matters.
        """
        wal = self._path.with_name(self._path.name + "-wal")
        if wal.exists() and wal.stat().st_size >= _LOG_BYTES:
            return
        (cache,) = connection.execute("PRAGMA cache_size").fetchone()
        try:
            connection.execute("PRAGMA cache_size = 10")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE never_committed (filling BLOB)")
            filling = (_LOG_BYTES + _KEPT_BACK,)
            connection.execute("INSERT INTO never_committed VALUES (zeroblob(?))", filling)
        except sqlite3.OperationalError as error:
            log.info("the store's write-ahead log can't be lengthened yet: %s", error)
        finally:
            connection.rollback()
            connection.execute(f"PRAGMA cache_size = {cache}")

    def _engine(
        self,
        connections: int,
        begin: str,
        pragmas: tuple[str, ...],
        made: Callable[[sqlite3.Connection], None],
    ) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self._path)),
            pool_size=connections,
            hide_parameters=True,  # errors must not carry programs and counts into logs
            max_overflow=0,
            connect_args={
                "timeout": self._busy_timeout_s,
                "isolation_level": None,  # transactions begin where we say, not where it guesses
                "check_same_thread": False,
            },
        )

        def on_connect(connection: sqlite3.Connection, _record: object) -> None:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            made(connection)

        def on_begin(connection: Connection) -> None:
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(begin)

        event.listen(engine, "connect", on_connect)
        event.listen(engine, "begin", on_begin)
        return engine
