"""What was sent to a controller, in a file before it is sent.

A manager that is killed can't remember whether a job had left. The next one reads it
here: what isn't in the record was never sent, and what is in it has a mark that the
controller echoes. Lines of JSON, which a killed process leaves behind; where the host
itself was started anew the last lines may be missing, and then nothing follows from
that. So no chunk waits for the disk, which would cost the QPU a millisecond each. The
file is filled with zeros beforehand: a line that lengthened it would take longer to save.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from qpu_executor.errors import StoreError
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.qpus.pasqal_controller.messages import mark_of

FORMAT = 1
_REMEMBERED = 64
"""Jobs that are kept: a manager leaves at most the last one unasked."""
_LENGTH = 1 << 20
"""Bytes for new lines; when they are full the file is written anew."""

R = TypeVar("R")


@dataclass(slots=True)
class Sent:
    """A chunk that was handed over, or was about to be.

    `number`: of its job (None: nobody saw it). `before`: the newest number known when it
    was sent. `over`: the controller ended the request, with or without a job. `never`: it
    is certain that there is no job. `sent_at`: manager's clock.
    """

    shots: int
    atoms: int
    sent_at: Instant
    before: int | None = None
    number: int | None = None
    over: bool = False
    never: bool = False


class SentRecord:
    """The record of one QPU, in `path`. Call `open` first; `close` waits for the disk."""

    def __init__(self, path: Path) -> None:
        self.instance = uuid.UUID(int=0)
        self.complete = False
        self.newest: int | None = None
        self.newest_mark: str | None = None
        self.device: str | None = None
        self._path = path
        self._sent: OrderedDict[ChunkId, Sent] = OrderedDict()
        self._disk: ThreadPoolExecutor | None = None
        self._newest_work: Future[Any] | None = None
        self._file: int | None = None
        self._end = 0
        self._length = 0

    async def open(self) -> None:
        """Read what was written, or begin. Raises StoreError.

        `complete` says afterwards whether an earlier manager sent nothing else: there was a
        record, and the host hasn't been started anew since.
        """
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="sent-record")
        try:
            await self._on_disk(self._read)
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None

    async def close(self) -> None:
        """Write the rest and let go. May be called twice."""
        disk, self._disk = self._disk, None
        if disk is None:
            return
        await asyncio.to_thread(disk.shutdown)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def mark(self, chunk: ChunkId) -> str:
        """The chunk's name at the controller."""
        return mark_of(self.instance, chunk)

    def find(self, chunk: ChunkId) -> Sent | None:
        """What is known of a chunk; None if it isn't in the record."""
        return self._sent.get(chunk)

    async def sending(self, chunk: ChunkId, shots: int, atoms: int, at: Instant) -> Sent:
        """The chunk is about to leave; a killed process leaves this behind. Raises OSError."""
        sent = Sent(shots, atoms, at, before=self.newest)
        self._keep(chunk, sent)
        await self._write(_sent_line(chunk, sent))
        return sent

    async def sending_again(self, chunk: ChunkId) -> None:
        """It is proven that it didn't arrive, and it is about to leave again. Raises OSError."""
        sent = self._sent[chunk]
        sent.over = False
        await self._write(_sent_line(chunk, sent))

    def accepted(self, chunk: ChunkId, number: int) -> None:
        """The chunk's job has this number."""
        sent = self._sent[chunk]
        sent.number = self.newest = number
        self.newest_mark = self.mark(chunk)
        self._note(_sent_line(chunk, sent))

    def request_over(self, chunk: ChunkId) -> None:
        """The controller itself ended the request: no job comes of it later."""
        sent = self._sent[chunk]
        sent.over = True
        self._note(_sent_line(chunk, sent))

    def never_sent(self, chunk: ChunkId) -> None:
        """It is certain that the chunk is no job of the controller."""
        sent = self._sent[chunk]
        sent.never = True
        self._note(_sent_line(chunk, sent))

    def saw_device(self, device: str) -> None:
        """The device as the controller published it last."""
        if device != self.device:
            self.device = device
            self._note({"device": device})

    # -- the file; what may take time, in a thread of its own -----------------------

    def _keep(self, chunk: ChunkId, sent: Sent) -> None:
        self._sent[chunk] = sent
        self._sent.move_to_end(chunk)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def _note(self, line: dict[str, Any]) -> None:
        """Write a line some time soon, and save it with those before it."""
        if self._disk is not None:
            self._submit(lambda: self._append(_encoded(line), save=True))

    async def _write(self, line: dict[str, Any]) -> None:
        """Write a line now: from here, where nothing is being written and there is room.

        That copies some hundred bytes into memory of the system's. To let the thread do it
        would take ten times as long, and the QPU stands idle meanwhile.
        """
        text = _encoded(line)
        idle = self._newest_work is None or self._newest_work.done()
        if idle and self._file is not None and self._end + len(text) <= self._length:
            self._append(text)
        else:
            await self._on_disk(lambda: self._append(text))

    async def _on_disk(self, work: Callable[[], R]) -> R:
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Callable[[], R]) -> Future[R]:
        """Let the thread do it, after all that it was given before."""
        if self._disk is None:
            raise OSError("the record of what was sent is closed")
        running = self._disk.submit(work)
        self._newest_work = running
        return running

    def _append(self, text: bytes, *, save: bool = False) -> None:
        if self._file is None or self._end + len(text) > self._length:
            self._write_anew()
        assert self._file is not None
        os.pwrite(self._file, text, self._end)
        self._end += len(text)
        if save:
            os.fdatasync(self._file)

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().rstrip(b"\0").split(b"\n")
        except FileNotFoundError:
            self.instance = uuid.uuid4()
            self._write_anew()
            return
        # Whatever follows the last line's end was being written when the power went.
        for n, line in enumerate(lines[:-1]):
            self._take_in(json.loads(line), first=n == 0)
        if len(lines) < 2:
            raise ValueError("it has no first line")
        self._write_anew()

    def _take_in(self, line: dict[str, Any], *, first: bool) -> None:
        if first:
            if line["format"] != FORMAT:
                raise ValueError(f"format {line['format']!r}, this version reads {FORMAT}")
            self.instance = uuid.UUID(line["instance"])
            self.complete = line["boot"] == _boot()
            self.newest, self.newest_mark = line["newest"], line["newest_mark"]
        elif "device" in line:
            self.device = str(line["device"])
        else:
            chunk = ChunkId.parse(line.pop("chunk"))
            sent = Sent(**line)
            self._keep(chunk, sent)
            if sent.number is not None:
                self.newest, self.newest_mark = sent.number, self.mark(chunk)

    def _write_anew(self) -> None:
        """Replace the file by its shortest form, and go on behind that."""
        head = {
            "format": FORMAT,
            "instance": str(self.instance),
            "boot": _boot(),
            "newest": self.newest,
            "newest_mark": self.newest_mark,
        }
        lines = [head, *(_sent_line(chunk, one) for chunk, one in list(self._sent.items()))]
        if self.device is not None:
            lines.append({"device": self.device})
        text = b"".join(map(_encoded, lines))
        new = self._path.with_name(f".{self._path.name}.new")
        with new.open("wb") as file:
            file.write(text.ljust(_LENGTH + len(text), b"\0"))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        if self._file is not None:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY)
        self._end, self._length = len(text), len(text) + _LENGTH

    def _unreadable(self, reason: str) -> StoreError:
        return StoreError(
            f"the record of what was sent to the controller can't be used: {reason}",
            where=str(self._path),
            next_step="see that no job of ours is at the controller, then move the file away",
        )


def _boot() -> str:
    """Names the time since the host was started (Linux)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _sent_line(chunk: ChunkId, sent: Sent) -> dict[str, Any]:
    return {"chunk": str(chunk), **asdict(sent)}


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
