"""Reading the journal back from an export that `qpu admin prune` wrote: JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.rows import JOURNAL
from qpu_executor.model.values import ChunkId

_FIRST = b'{"record":'


def is_export(path: Path) -> bool:
    """True for a file that begins as an export does."""
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST)) == _FIRST
    except OSError:
        return False


def read_journal(path: Path) -> Iterator[JournalRow]:
    """The journal rows of an export, in the order of their numbers. Raises StoreError."""
    rows = [_row(one["row"], path) for one in _records(path) if one.get("record") == "journal"]
    return iter(sorted(rows, key=lambda row: row.n))


def read_chunk_qpus(path: Path) -> dict[ChunkId, str]:
    """Which QPU each chunk of its tasks was sent to. Raises StoreError."""
    return {
        ChunkId(chunk["task_id"], chunk["n"]): chunk["qpu"]
        for one in _records(path)
        if one.get("record") == "task"
        for chunk in one["chunks"]
    }


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
            except ValueError:
                raise _broken(path, f"line {number} is no JSON; is the file cut off?") from None
            if not isinstance(found, dict):
                raise _broken(path, f"line {number} is no record")
            yield found


def _row(values: Any, path: Path) -> JournalRow:
    try:
        return JOURNAL.record([values[name] for name in JOURNAL.names])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"a journal row can't be understood ({error!r})") from None


def _broken(path: Path, what: str) -> StoreError:
    return StoreError(what, where=f"export {path}", expected="what `qpu admin prune` wrote")
