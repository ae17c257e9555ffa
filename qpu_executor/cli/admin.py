"""`qpu admin`: upkeep of a manager's store, through the manager or from its host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, TextIO

import typer

from qpu_executor.cli.backup import backup
from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected
from qpu_executor.cli.moments import read_span
from qpu_executor.cli.tables import clock
from qpu_executor.client import Client
from qpu_executor.errors import ConfigError, StoreError
from qpu_executor.wire.retention import PrunedOut, PruneRequest

admin = typer.Typer(help="Upkeep of a manager's store.", no_args_is_help=True, add_completion=False)


@admin.callback()
def _admin() -> None:
    """Upkeep of a manager's store."""


admin.command("backup")(backup)


@admin.command("prune")
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", help="What ended longer ago: `90d`.")
    ] = "90d",
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write all of it to this new file first (JSON lines)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much it would be; drop nothing.")
    ] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop results, programs and journal of tasks that ended long ago (operators)."""
    age_s = read_span(older_than, "--older-than")
    with connected(manager) as client:
        if dry_run:
            found = client.prunable(age_s)
            text = f"{found.tasks} tasks and {found.journal} rows of the journal, from before"
            print(found.model_dump_json() if as_json else f"{text} {clock(found.before)}")
            return
        if export is None:
            total = _prune(client, age_s)
        else:
            try:
                with _new_file(export) as file:
                    total = _export_and_prune(client, age_s, file)
            except OSError as error:
                raise _unwritten(export, error) from None
    if as_json:
        print(total.model_dump_json())
        return
    print(f"dropped: {total.tasks} tasks, {total.journal} rows of the journal")
    if export is not None:
        print(f"exported to {export}")


# -- below: no verbs ------------------------------------------------------------


def _prune(client: Client, age_s: float) -> PrunedOut:
    total = PrunedOut(tasks=0, sessions=0, journal=0, more=True)
    while total.more:
        total = _sum(total, client.prune(PruneRequest(older_than_s=age_s)))
    return total


def _export_and_prune(client: Client, age_s: float, file: TextIO) -> PrunedOut:
    """Nothing is dropped before its record is on the disk.

    What others dropped meanwhile says nothing about the rest: it ends with nothing to export.
    """
    total = PrunedOut(tasks=0, sessions=0, journal=0, more=True)
    while True:
        found = client.prunable_records(age_s)
        if not (found.tasks or found.sessions or found.journal):
            return total
        for record in found.records:
            file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
        body = PruneRequest(
            older_than_s=age_s, tasks=found.tasks, sessions=found.sessions, journal=found.journal
        )
        total = _sum(total, client.prune(body))


def _sum(total: PrunedOut, more: PrunedOut) -> PrunedOut:
    return PrunedOut(
        tasks=total.tasks + more.tasks,
        sessions=total.sessions + more.sessions,
        journal=total.journal + more.journal,
        more=more.more,
    )


def _new_file(path: Path) -> TextIO:
    """A file that only its owner can read: other people's results go into it."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # or a host that crashes may forget its name, with all in it
        finally:
            os.close(directory)
        return file
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}",
            where="--export",
            expected="a file that isn't there yet",
        ) from None


def _unwritten(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"the export can't be written: {error.strerror}",
        where=str(path),
        expected="room for what is to be dropped; nothing was dropped that isn't in the file",
        next_step="make room, keep this file, and type the command again with another one",
    )
