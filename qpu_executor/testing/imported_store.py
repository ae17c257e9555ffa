"""A frozen SQLite store moved into PostgreSQL, at the version that it has."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Boolean, Connection, MetaData, create_engine
from sqlalchemy.types import TypeEngine

from qpu_executor.manager.store import migrations


def import_store(path: Path, url: str) -> None:
    """Fill an empty database with the tables and rows of a SQLite store.

    Its schema is made by the migrations up to its version, not copied.
    """
    source = create_engine(URL.create("sqlite", database=str(path)))
    target = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with source.connect() as old, target.begin() as new:
            version = migrations.current(old)
            assert version is not None
            migrations.upgrade(new, version)
            _copy(old, new)
    finally:
        source.dispose()
        target.dispose()


def _copy(old: Connection, new: Connection) -> None:
    tables = MetaData()
    tables.reflect(new)
    for table in tables.sorted_tables:
        if table.name == migrations.VERSION_TABLE:
            continue
        rows = old.exec_driver_sql(f'SELECT * FROM "{table.name}"').mappings()  # noqa: S608
        types: dict[str, TypeEngine[object]] = {one.name: one.type for one in table.columns}
        values = [
            {
                name: bool(value)
                if isinstance(types[name], Boolean) and value is not None
                else value
                for name, value in row.items()
            }
            for row in rows
        ]
        if values:
            new.execute(table.insert(), values)
