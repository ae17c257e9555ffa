"""Which job of a service is which chunk, in a file that outlives the manager.

A chunk is written down before its job is sent and again with the job's handle, both
flushed to the disk, so that a manager that is killed in between knows that the job
may exist. `namespace` is made once with the file: it tells the jobs of one manager's
store from those of all others on the same account.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qpu_executor.errors import StoreError
from qpu_executor.model.values import ChunkId

FORMAT = 1
_REMEMBERED = 128
"""Chunks kept: far more than can be in flight at once."""


@dataclass(frozen=True, slots=True)
class SentChunk:
    """`handle`: its job (None: sent perhaps, never acknowledged). `sent_at`: Unix seconds,
    just before. `order_mark`: what was ordered, in short.
    """

    sent_at: float
    order_mark: str
    shots: int
    handle: str | None = None


class SentChunks:
    """The file. Its methods block (a flush); they are called in a thread.

    Two at a time would tear it: the caller makes them one after the other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chunks: OrderedDict[ChunkId, SentChunk] = OrderedDict()
        self.namespace = ""

    def read(self) -> None:
        """Read the file, or make one. Raises StoreError for one that is damaged or foreign."""
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            self.namespace = secrets.token_hex(6)
            self._write()
            return
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        except ValueError as error:
            raise self._unreadable(str(error)) from None
        try:
            self._take(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None

    def get(self, chunk: ChunkId) -> SentChunk | None:
        """What is known of a chunk. Doesn't block."""
        return self._chunks.get(chunk)

    def put(self, chunk: ChunkId, sent: SentChunk) -> None:
        """Write a chunk down, for good. Raises OSError, and then nothing has changed."""
        before = self._chunks.copy()
        self._chunks[chunk] = sent
        self._chunks.move_to_end(chunk)
        while len(self._chunks) > _REMEMBERED:
            self._chunks.popitem(last=False)
        self._write_or(before)

    def drop(self, chunk: ChunkId) -> None:
        """Forget a chunk whose job certainly doesn't exist."""
        before = self._chunks.copy()
        if self._chunks.pop(chunk, None) is not None:
            self._write_or(before)

    def _write_or(self, before: OrderedDict[ChunkId, SentChunk]) -> None:
        try:
            self._write()
        except OSError:
            self._chunks = before
            raise

    def _write(self) -> None:
        document = {
            "format": FORMAT,
            "namespace": self.namespace,
            "chunks": [[str(chunk), asdict(sent)] for chunk, sent in self._chunks.items()],
        }
        new = self._path.with_name(f".{self._path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)  # operators read it, and may have to edit it
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _take(self, found: dict[str, Any]) -> None:
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}, this version reads {FORMAT}")
        self.namespace = str(found["namespace"])
        for chunk, one in found["chunks"]:
            self._chunks[ChunkId.parse(chunk)] = SentChunk(**one)

    def _unreadable(self, reason: str) -> StoreError:
        return StoreError(
            f"the list of jobs that were sent can't be read: {reason}",
            where=str(self._path),
            next_step="see at the vendor that no job runs, then remove the file",
        )
