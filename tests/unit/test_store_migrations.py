"""The migrations make exactly the tables that the code uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect

from qpu_executor.manager.store import migrations, rows, tables
from qpu_executor.manager.store.migrations import HEAD, VERSION_TABLE


def schema(connection: Connection) -> dict[str, object]:
    """All that two databases must have in common."""
    found: dict[str, object] = {}
    inspector = inspect(connection)
    for table in sorted(set(inspector.get_table_names()) - {VERSION_TABLE}):
        found[table] = (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (i["name"], i["column_names"], [str(o) for o in i["dialect_options"].values()])
                for i in inspector.get_indexes(table)
            ),
            sorted(str(key) for key in inspector.get_foreign_keys(table)),
            sorted(str(unique) for unique in inspector.get_unique_constraints(table)),
        )
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    """Makes engines, each of an empty database."""
    if request.param == "sqlite":
        return lambda: create_engine("sqlite://")
    server = request.getfixturevalue("postgres")
    return lambda: create_engine(server.new_database().replace(":", "+psycopg:", 1))


def test_migrating_makes_the_tables_of_the_code(empty: Callable[[], Engine]) -> None:
    migrated, created = empty(), empty()
    with migrated.begin() as one, created.begin() as two:
        assert migrations.current(one) is None
        migrations.upgrade(one)
        assert migrations.current(one) == HEAD
        tables.metadata.create_all(two)
        assert schema(one) == schema(two)
        context = MigrationContext.configure(one, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []
    migrated.dispose()
    created.dispose()


def test_the_newest_file_is_the_version_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    versions = [revision.revision for revision in script.walk_revisions()]
    assert script.get_current_head() == HEAD
    assert versions == sorted(versions, reverse=True)
    assert {len(version) for version in versions} == {4}


def test_a_records_fields_are_its_tables_columns_in_order() -> None:
    for codec, table in (
        (rows.PROGRAM, tables.programs),
        (rows.SESSION, tables.sessions),
        (rows.TASK, tables.tasks),
        (rows.CHUNK, tables.chunks),
        (rows.JOURNAL, tables.journal),
    ):
        assert codec.names == tuple(table.columns.keys())  # type: ignore[attr-defined]
