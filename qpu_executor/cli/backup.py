"""`qpu admin backup`: a copy of the store, made on the manager's host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qpu_executor.cli.server_files import placed
from qpu_executor.errors import OperatorError
from qpu_executor.settings import StoreSettings, read_site


def backup(
    file: Annotated[Path, typer.Argument(help="A new file for the copy.")],
    site: Annotated[
        Path | None, typer.Option(help="Site file of the manager. Default: that of no site.")
    ] = None,
) -> None:
    """Copy the store to a file, while the manager runs or not."""
    named = None if site is None else read_site(site).manager.store
    store = placed(named or StoreSettings())
    if store.path is None:
        raise OperatorError(
            "the store is in PostgreSQL, which has a tool of its own",
            where="manager.store",
            next_step=f"pg_dump --format=custom --file={file} '{store.url}'",
        )
    from qpu_executor.manager.store.backup import back_up

    back_up(store.path, file)
    typer.echo(f"{store.path} is copied to {file}")
