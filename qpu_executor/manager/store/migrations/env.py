"""Alembic's entry: runs the migrations on the connection that `upgrade` hands over."""

from alembic import context

from qpu_executor.manager.store.migrations import VERSION_TABLE
from qpu_executor.manager.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # true of SQLite too, where the transaction is begun by hand
)
with context.begin_transaction():
    context.run_migrations()
