"""How a manager makes a store its own: the schema of this version, and a new incarnation."""

from __future__ import annotations

from sqlalchemy import Engine

from qpu_executor.errors import StoreError
from qpu_executor.manager.store import migrations, queries
from qpu_executor.manager.store.database import Database
from qpu_executor.manager.store.restored import mark


def claim(engine: Engine, database: Database, *, restored: bool) -> tuple[int, int]:
    """Migrate and fence, in one transaction, with the store's lock.

    `restored`: a backup was put in place. Returns the number of this incarnation, and of the
    newest transaction before it. Raises StoreError for a newer schema, and what the engine raises.
    """
    with engine.begin() as connection:
        version = migrations.current(connection)
        if version is not None and version > migrations.HEAD:
            raise StoreError(
                f"the store was written by a newer version (its schema is {version}, "
                f"this one knows {migrations.HEAD})",
                where=database.where,
                next_step="upgrade qpu-executor",
            )
        if version != migrations.HEAD:
            migrations.upgrade(connection)
        if connection.execute(queries.next_incarnation).rowcount != 1:
            connection.execute(queries.first_incarnation)
        if restored:
            mark(connection)
        row = connection.execute(queries.stored_number).one()
        return int(row.incarnation), int(row.commits)
