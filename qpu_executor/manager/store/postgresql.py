"""What is particular to PostgreSQL: connections, its lock, and what may be in a database.

Connections are made from the URL by libpq, which finds the password in `password_file`
or by itself (`~/.pgpass`, `PGPASSFILE`, `PGPASSWORD`), or needs none. Their timeouts see to
it that nothing waits for good: for a lock, for a statement, for an answer of a server
that is gone. Transactions of the writer are durable when they return, whatever the
server's default.

The tables lie in the first schema of the role's search path: each schema is a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from qpu_executor.errors import ConfigError, QpuExecutorError, StoreError
from qpu_executor.manager.store import postgresql_errors, tables
from qpu_executor.manager.store.database import not_restored
from qpu_executor.manager.store.migrations import VERSION_TABLE
from qpu_executor.manager.store.postgresql_holder import LOCK, session_name
from qpu_executor.manager.store.postgresql_lock import AdvisoryLock
from qpu_executor.manager.store.postgresql_patience import PatientConnection

_OLDEST = 120000
"""PostgreSQL 12: the oldest whose settings these are (tested with 15)."""

_STATEMENT_S = 30
"""No statement of ours takes that long, unless the database is in trouble."""

ANSWER_S = _STATEMENT_S + 10.0
"""A server that says nothing for that long doesn't even notice its own time limits."""

_LIBPQ = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # milliseconds
    "client_encoding": "utf8",
}
"""What the URL may say otherwise. A server that is gone is noticed within 10 to 15 s."""

_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""The same the other way round: a manager that is gone loses the lock."""


@dataclass(frozen=True, slots=True)
class Look:
    """A database from outside: whether there is a store in it, and who has that since when."""

    server_version: str
    schema: str | None
    may_create: bool | None
    has_store: bool
    read_only: bool
    holder: str | None


class PostgresDatabase:
    """One database, a `Database`.

    `url`: as libpq reads it, without a password. `lock_timeout_s`: how long a write waits
    for a lock of another session. `lease_s`: after which silence a manager loses the lock.
    """

    errors: tuple[type[Exception], ...] = (SQLAlchemyError, psycopg.Error)
    """What its engines raise; `translate` says what it means."""

    def __init__(
        self,
        url: str,
        *,
        password_file: Path | None,
        lock_timeout_s: float,
        lease_s: float,
        readers: int,
    ) -> None:
        try:
            self._libpq: dict[str, Any] = {**_LIBPQ, **conninfo_to_dict(url)}
        except psycopg.Error as error:
            raise ConfigError(
                f"the store's URL can't be read ({postgresql_errors.what(error)})",
                expected="postgresql://user@host/database",
                next_step="correct the store's address",
            ) from None
        self._password_file = password_file
        self._lock_timeout_s = lock_timeout_s
        self._lease_s = lease_s
        self._readers = readers
        self._schema = ""
        self._lock = AdvisoryLock(lambda: self._connect(LOCK, autocommit=True), lease_s, self.where)

    @property
    def where(self) -> str:
        """What an error calls this store."""
        said = {name: self._libpq.get(name) for name in ("user", "host", "port", "dbname")}
        user = f"{said['user']}@" if said["user"] else ""
        port = f":{said['port']}" if said["port"] else ""
        return f"store postgresql://{user}{said['host'] or ''}{port}/{said['dbname'] or ''}"

    def lock(self) -> str | None:
        """Take the lock without waiting for its holder's end. None, or who that is since when.

        Raises ManagerBusy where the database doesn't answer.
        """
        try:
            return self._lock.acquire()
        except psycopg.Error as error:
            raise self.translate(error) from None

    def prepare(self, *, restored: bool) -> None:
        """Refuse a database that isn't ours or can't hold all text. Raises StoreError.

        Ends what a former manager left behind: with the lock, this one is the manager.
        """
        try:
            ((version, encoding, schema),) = self._lock.query(
                "SELECT current_setting('server_version_num')::int, "
                "current_setting('server_encoding'), current_schema()"
            )
            self._schema = schema or ""
            self._refuse_unfit(version, encoding)
            found = {
                name
                for (name,) in self._lock.query(
                    "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') "
                    "AND relnamespace = current_schema()::regnamespace"
                )
            }
            self._lock.end_former_writers()
        except psycopg.Error as error:
            raise self.translate_opening(error) from None
        if VERSION_TABLE in found:
            return
        if restored:
            raise not_restored(self.where)
        others = sorted(found & set(tables.metadata.tables))
        if others:
            raise StoreError(
                f"the database has a table {others[0]!r} that isn't ours",
                where=self.where,
                expected="a store of qpu-executor, or a schema without tables",
                next_step="give the store a database of its own",
            )

    def look(self) -> Look:
        """Look without taking the lock or changing anything. Raises ManagerBusy or StoreError."""
        try:
            with self._connect("qpu doctor", autocommit=True) as session:
                found = session.execute(
                    "SELECT current_setting('server_version'), current_schema(), "
                    "has_schema_privilege(current_schema(), 'CREATE'), "
                    "to_regclass(%s) IS NOT NULL, pg_is_in_recovery()",
                    (VERSION_TABLE,),
                ).fetchone()
            assert found is not None
            version, schema, may_create, has_store, read_only = found
            holder = self._lock.holder()
            return Look(version, schema, may_create, has_store, read_only, holder)
        except psycopg.Error as error:
            raise self.translate(error) from None

    def release(self) -> None:
        """Give up the lock. May be called twice."""
        self._lock.release()

    def on_loss(self, tell: Callable[[StoreError], None]) -> None:
        """Call `tell` in another thread when another manager has the lock."""
        self._lock.on_loss(tell)

    def check(self) -> None:
        """Before each write: have the lock. Raises ManagerBusy or StoreError."""
        self._lock.ensure()

    @property
    def surely_ours(self) -> bool:
        """False where the lock's session may have been ended since it last answered."""
        return self._lock.fresh

    def write_engine(self) -> Engine:
        """For the one writer."""
        return self._engine("writer", 1, ())

    def read_engine(self) -> Engine:
        """For readers; each connection is tried before it is used again."""
        characteristics = "SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        return self._engine("reader", self._readers, (f"SET {characteristics}, READ ONLY",))

    def lost(self, error: Exception) -> bool:
        """True where the error says that its connection is gone; the lock's may be as well."""
        found = postgresql_errors.connection_lost(error)
        if found:
            self._lock.doubt()
        return found

    def translate(self, error: Exception) -> QpuExecutorError:
        """What a failed read or write means: ManagerBusy where it may pass, else StoreError."""
        return postgresql_errors.translate(error, self.where)

    def translate_opening(self, error: Exception) -> StoreError:
        """The same while the store opens: nobody waits yet, so an operator has to act."""
        found = self.translate(error)
        if isinstance(found, StoreError):
            return found
        return StoreError(
            found.message,
            where=self.where,
            next_step="check the address, the role and the database, and start again",
        )

    def damaged(self, what: str) -> StoreError:
        """The error for content that can't be ours as it is."""
        return postgresql_errors.damaged(what, self.where)

    def _refuse_unfit(self, version: int, encoding: str) -> None:
        unfit = None
        if version < _OLDEST:
            unfit = f"PostgreSQL {version // 10000} is too old", "12 or later", "upgrade it"
        elif encoding != "UTF8":
            create = "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            unfit = f"the database's encoding is {encoding}", "UTF8", create
        elif not self._schema:
            unfit = (
                "the role's search path names no schema that is there",
                "one in which it may create tables",
                "CREATE SCHEMA … AUTHORIZATION …",
            )
        if unfit is not None:
            what, expected, next_step = unfit
            raise StoreError(what, where=self.where, expected=expected, next_step=next_step)

    def _connect(self, role: str, *, autocommit: bool = False) -> PatientConnection:
        """A new connection. Raises psycopg.Error, or ConfigError for the password's file."""
        milliseconds = {
            "lock_timeout": self._lock_timeout_s,
            "statement_timeout": _STATEMENT_S,
            "idle_in_transaction_session_timeout": self._lease_s,
        }
        settings = {**_SERVER_KEEPALIVES}
        settings |= {name: f"{max(1, round(s * 1000))}" for name, s in milliseconds.items()}
        given = [self._libpq["options"]] if self._libpq.get("options") else []
        given += [f"-c {name}={value}" for name, value in settings.items()]
        parameters: dict[str, Any] = {
            **self._libpq,
            **self._password(),
            "options": " ".join(given),
            "application_name": session_name(role),
        }
        made = PatientConnection.connect(**parameters, autocommit=autocommit)
        made.answer_s = self._lease_s / 2 if role == LOCK else ANSWER_S
        return made

    def _password(self) -> dict[str, str]:
        if self._password_file is None:
            return {}
        try:
            return {"password": self._password_file.read_text("utf-8").rstrip("\r\n")}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the store's password file can't be read ({type(error).__name__})",
                where=str(self._password_file),
                next_step="put the password into that file, readable by the manager alone",
            ) from None

    def _engine(self, role: str, connections: int, first: tuple[str, ...]) -> Engine:
        engine = create_engine(
            URL.create("postgresql+psycopg"),
            creator=lambda: self._connect(f"qpu {role} {self._schema[:20]}"),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_STATEMENT_S,
            pool_pre_ping=role == "reader",
            hide_parameters=True,  # programs and counts never go into logs
        )

        def on_connect(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') = 'off'"
                )
                for statement in first:
                    cursor.execute(statement)
            connection.commit()

        event.listen(engine, "connect", on_connect)
        return engine
