"""The store's database, looked at without opening it as a store: that would migrate it."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.cli.doctor.finding import Finding, ok, wrong
from qpu_executor.cli.server_files import check_password_file
from qpu_executor.errors import QpuExecutorError
from qpu_executor.settings import StoreSettings


def store_database(store: StoreSettings) -> Iterable[Finding]:
    """Whether it lets us in, can hold a store, and which manager has it."""
    assert store.url is not None
    try:
        if store.password_file is not None:
            check_password_file(store.password_file)
        from qpu_executor.manager.store.postgresql import PostgresDatabase

        database = PostgresDatabase(
            store.url,
            password_file=store.password_file,
            lock_timeout_s=5.0,
            lease_s=store.lease_s,
            readers=1,
        )
        found = database.look()
    except ImportError as error:
        yield wrong("store", f"psycopg is missing ({error})", "pip install 'psycopg[binary]'")
        return
    except QpuExecutorError as error:
        yield wrong("store", error.message, error.next_step or "see docs/operations/postgresql.md")
        return
    where = f"PostgreSQL {found.server_version} at {database.where.removeprefix('store ')}"
    if found.read_only:
        yield wrong("store", f"{where} takes no writes", "name the primary, not its replica")
    elif not found.has_store and not found.may_create:
        schema = found.schema or "public"
        role = "the manager's role"
        yield wrong(
            "store",
            f"{role} may not make tables in {where}",
            f"GRANT CREATE ON SCHEMA {schema} TO …",
        )
    else:
        what = "holds a store" if found.has_store else "will be given a store"
        whose = "" if found.holder is None else f", in use by {found.holder}"
        yield ok("store", f"{where} {what}{whose}")
