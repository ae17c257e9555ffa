"""A store's address to the database that it names."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from qpu_executor.errors import ConfigError
from qpu_executor.manager.store.database import Database
from qpu_executor.manager.store.sqlite import SqliteDatabase

POSTGRESQL = ("postgresql://", "postgres://")
"""What libpq takes for a URL."""


def shown(address: str | Path) -> str:
    """An address as messages may show it: without a password."""
    found = re.sub(r"://[^@/]*:[^@]*@", "://***@", str(address))
    return re.sub(r"(password)=[^&\s]*", r"\1=***", found)


def named_database(
    address: str | Path,
    *,
    password_file: Path | None,
    busy_timeout_s: float,
    lease_s: float,
    readers: int,
) -> Database:
    """The database of a path or URL. Raises ConfigError for one that names no store."""
    if isinstance(address, str) and address.startswith(POSTGRESQL):
        return _postgresql(address, password_file, busy_timeout_s, lease_s, readers)
    if isinstance(address, str) and "://" in address:
        try:
            url = make_url(address)
        except ArgumentError:
            raise _unknown(address) from None
        if url.get_backend_name() != "sqlite" or not url.database or url.query:
            raise _unknown(address)
        address = url.database
    return SqliteDatabase(Path(address).absolute(), busy_timeout_s=busy_timeout_s, readers=readers)


def _postgresql(
    url: str, password_file: Path | None, lock_timeout_s: float, lease_s: float, readers: int
) -> Database:
    try:
        from qpu_executor.manager.store.postgresql import PostgresDatabase
    except ImportError as error:
        raise ConfigError(
            f"a store in PostgreSQL needs psycopg ({error})",
            where="store",
            next_step="pip install 'qpu-executor[server,postgresql]'",
        ) from None
    return PostgresDatabase(
        url,
        password_file=password_file,
        lock_timeout_s=lock_timeout_s,
        lease_s=lease_s,
        readers=readers,
    )


def _unknown(address: str) -> ConfigError:
    return ConfigError(
        f"{shown(address)!r} names no store",
        expected="a path, sqlite:///path/to/file, or postgresql://user@host/database",
        next_step="correct the store's address",
    )
