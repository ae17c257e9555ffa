"""The versions of the schema, and the way from any older one to the newest.

Versions are four digits and only grow, so that a store of a newer one is known
as such by code that has never heard of it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0006"
"""The version that this code reads and writes (a test compares it with the files)."""

VERSION_TABLE = "schema_version"


def current(connection: Connection) -> str | None:
    """The version of a store; None where it has no schema yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return None if found is None else str(found)


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Bring the schema to a version, within the connection's transaction."""
    # Here, because a store that is up to date needn't pay for importing it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
