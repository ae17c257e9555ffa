"""A copy of a SQLite store as it is at one moment, beside the manager that writes to it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.sqlite import APPLICATION_ID


def back_up(path: Path, target: Path) -> None:
    """Write a copy to a new file, for its owner alone. It is on the disk when this returns.

    Raises StoreError for what isn't a store, or a target that is there or can't be written.
    """
    where = f"store {path}"
    if not path.is_file():
        raise StoreError("there is no such file", where=where, next_step="see `manager.store`")
    try:
        if os.path.lexists(target):
            raise FileExistsError
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
        os.close(descriptor)
        part = Path(name)
        try:
            _copy(path, part, where)
            _to_disk(part)
            _name(part, target)
            _to_disk(target.parent)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise StoreError(
            f"{target} is there already", where=where, next_step="name a new file"
        ) from None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"it can't be copied to {target}: {error}",
            where=where,
            next_step="check the space and the permissions there",
        ) from None


def _copy(path: Path, part: Path, where: str) -> None:
    source_uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with (
        closing(sqlite3.connect(source_uri, uri=True, timeout=30)) as source,
        closing(sqlite3.connect(part)) as copy,
    ):
        (found,) = source.execute("PRAGMA application_id").fetchone()
        if found != APPLICATION_ID:
            raise StoreError("this is not a manager's store", where=where)
        source.backup(copy)
        (said,) = copy.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise StoreError(
                f"its copy is damaged: {said}", where=where, next_step="keep your older backups"
            )


def _name(part: Path, target: Path) -> None:
    """Give a whole copy its name, unless something has that. Raises OSError.

    Never before it is whole: whoever is killed halfway leaves no empty file of that name.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600))
        part.replace(target)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
