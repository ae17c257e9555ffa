"""Statements that are compiled once: the same SQL and values as SQLAlchemy would send."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import StaticPool

from qpu_executor.manager.store import queries, rows, tables
from qpu_executor.manager.store.prepared import Prepared
from qpu_executor.manager.store.records import ChunkRow, JournalRow
from qpu_executor.model.states import ChunkState


def chunk(n: int) -> ChunkRow:
    return ChunkRow(1, n, ChunkState.FINISHED, "q", "d", True, 0, 10, 5, 1, shots_counted=n)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    tables.metadata.create_all(engine)
    with engine.connect() as connected:
        yield connected
    engine.dispose()


@pytest.fixture
def prepared(connection: Connection) -> Prepared:
    return Prepared(connection.dialect)


@pytest.mark.parametrize("number", [1, 3])
def test_what_was_inserted_is_read_back_as_it_was(
    connection: Connection, prepared: Prepared, number: int
) -> None:
    wanted = [chunk(n) for n in range(number)]
    met = prepared.run(connection, queries.add_chunks, [rows.CHUNK.values(one) for one in wanted])
    assert met == number
    found = connection.execute(select(tables.chunks).order_by(tables.chunks.c.n)).all()
    assert [rows.CHUNK.record(row) for row in found] == wanted


def test_a_statement_s_own_constants_are_bound_beside_its_values(
    connection: Connection, prepared: Prepared
) -> None:
    prepared.run(connection, queries.add_chunks, [rows.CHUNK.values(chunk(n)) for n in range(3)])
    assert prepared.run(connection, queries.discard_chunks, [{"of_task": 1}]) == 2
    assert prepared.run(connection, queries.discard_chunks, [{"of_task": 2}, {"of_task": 1}]) == 2


def test_the_driver_s_refusal_comes_through(connection: Connection, prepared: Prepared) -> None:
    row = rows.JOURNAL.values(JournalRow(1, 1, "k", None, None, None, None, None, 0, {}))
    with pytest.raises(sqlite3.IntegrityError):
        prepared.run(connection, queries.add_journal, [row, row])


def test_where_placeholders_have_names_the_values_keep_theirs() -> None:
    compiled = Prepared(postgresql.dialect())._prepared(queries.discard_chunks)
    assert "%(of_task)s" in compiled.sql
    parameters = compiled.parameters({"of_task": 7})
    assert parameters["of_task"] == 7
    assert set(parameters.values()) == {7, 0}


def test_no_column_has_a_default_that_only_sqlalchemy_would_fill_in() -> None:
    columns = [column for table in tables.metadata.tables.values() for column in table.c]
    assert columns
    assert [column for column in columns if column.default or column.onupdate] == []
