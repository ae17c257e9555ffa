"""Sends a chunk as one job, exactly once, and finds the jobs that were sent before.

The order of things: write the chunk down, look whether its job is there already, send
it with one request, write its handle down. Whatever happens in between, the file and
the service together tell what became of it, or that nobody knows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from qpu_executor.cancellation import in_thread_to_its_end
from qpu_executor.errors import DeviceError, ManagerUnreachable, ProgramRefused
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOrder
from qpu_executor.qpus.job_calls import JobCalls
from qpu_executor.qpus.job_service import (
    JobName,
    JobRefusedError,
    JobService,
    JobServiceError,
    NotSentError,
    UnclearError,
)
from qpu_executor.qpus.sent_chunks import SentChunk, SentChunks

log = logging.getLogger(__name__)


class JobSending:
    """`sent`: read already. `settle_s`: how long a job may take to be seen by a search."""

    def __init__(
        self, where: str, service: JobService, calls: JobCalls, sent: SentChunks, settle_s: float
    ) -> None:
        self._where = where
        self._service = service
        self._calls = calls
        self._sent = sent
        self._settle_s = settle_s
        self._writing = asyncio.Lock()
        self._late: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """Write nothing more: the file is the next one's. What comes late is only logged."""
        self._closed = True
        async with self._writing:  # whatever is being written
            return

    def knows(self, chunk: ChunkId) -> bool:
        """Whether the chunk was sent, or nearly."""
        return self._sent.get(chunk) is not None

    async def send(self, order: ChunkOrder) -> SentChunk:
        """The chunk's job, with its handle.

        Raises ProgramRefused, DeviceError (it certainly didn't run) or ManagerUnreachable.
        """
        name = self._name(order.chunk, _mark(order))
        handle = await self._already_there(order.chunk, name)
        if handle is None:
            handle = await self._send(order, name)
        sent = SentChunk(time.time(), name.order_mark, order.shots, handle)
        await self._acknowledged(order.chunk, sent)
        return sent

    async def search(self, chunk: ChunkId) -> SentChunk | None:
        """The job of a chunk that was sent before; None: there certainly is none.

        Raises JobServiceError while that isn't known, OSError if it can't be written down.
        """
        record = self._sent.get(chunk)
        if record is not None and record.handle is not None:
            return record
        if not self._service.searchable:
            if record is None:
                return None
            raise UnclearError(
                "its job was sent and not acknowledged, and can't be searched for here: "
                "look for it at the vendor"
            )
        found = await self._calls.run(
            self._service.find, self._name(chunk, "" if record is None else record.order_mark)
        )
        if found is not None:
            shots = record.shots if record is not None else _shots_of(found.order_mark)
            sent = SentChunk(time.time(), found.order_mark or "", shots, found.handle)
            await self._write(self._sent.put, chunk, sent)
            return sent
        if record is None:
            return None
        age_s = time.time() - record.sent_at
        if age_s < self._settle_s:
            raise UnclearError(f"its job was sent {age_s:.0f} s ago and isn't to be seen yet")
        await self._write(self._sent.drop, chunk)
        return None

    async def _already_there(self, chunk: ChunkId, name: JobName) -> str | None:
        """Look before sending. Raises DeviceError where that isn't possible."""
        if not self._service.searchable:
            said = await self._calls.before_sending(self._service.health)
            if said.state is not QpuState.UP:
                raise DeviceError(said.reason, where=self._where)
            return None
        found = await self._calls.before_sending(self._service.find, name)
        if found is None:
            return None
        if found.order_mark not in (None, name.order_mark):
            raise DeviceError(
                f"job {found.handle} bears the name of chunk {chunk}, and is another one",
                where=self._where,
                next_step="if the store is an older copy, remove this QPU's .jobs.json beside it",
            )
        log.warning("%s: chunk %s is job %s already: adopted", self._where, chunk, found.handle)
        return found.handle

    async def _send(self, order: ChunkOrder, name: JobName) -> str:
        chunk = order.chunk
        try:
            await self._write(
                self._sent.put, chunk, SentChunk(time.time(), name.order_mark, order.shots)
            )
        except OSError as error:
            raise DeviceError(
                f"chunk {chunk} can't be written down: {error}", where=self._where
            ) from None
        try:
            return await self._calls.run(
                self._service.send, order, name, late=lambda job: self._came_late(order, name, job)
            )
        except JobRefusedError as error:
            await self._forget(chunk)
            raise ProgramRefused(str(error), where=self._where, rule="service") from None
        except NotSentError as error:
            await self._forget(chunk)
            raise DeviceError(str(error), where=self._where) from None
        except JobServiceError as error:
            log.warning("%s: no clear answer about chunk %s: %s", self._where, chunk, error)
            handle = await self._find_at_once(name)
            if handle is not None:
                return handle
            raise ManagerUnreachable(
                f"nobody knows whether chunk {chunk} was taken: {error}", where=self._where
            ) from None

    async def _find_at_once(self, name: JobName) -> str | None:
        if not self._service.searchable:
            return None
        try:
            found = await self._calls.run(self._service.find, name)
        except JobServiceError:
            return None
        return None if found is None else found.handle

    def _came_late(self, order: ChunkOrder, name: JobName, handle: str) -> None:
        """The acknowledgement of a job that had been given up."""
        log.warning("%s: chunk %s is job %s, as it says late", self._where, order.chunk, handle)
        if self._closed:
            return
        task = asyncio.get_running_loop().create_task(self._take_late(order, name, handle))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _take_late(self, order: ChunkOrder, name: JobName, handle: str) -> None:
        """It is the chunk's after all; one that was denied by now is nobody's, and cancelled."""
        if self.knows(order.chunk):
            sent = SentChunk(time.time(), name.order_mark, order.shots, handle)
            await self._acknowledged(order.chunk, sent)
            return
        try:
            await self._calls.run(self._service.cancel, handle)
        except JobServiceError as error:
            log.error("%s: job %s is nobody's, and runs: %s", self._where, handle, error)

    async def _acknowledged(self, chunk: ChunkId, sent: SentChunk) -> None:
        """Write a job's handle down. A disk that is full loses it only for the next manager."""
        try:
            await self._write(self._sent.put, chunk, sent)
        except OSError as error:
            log.error(
                "%s: that chunk %s is job %s can't be written down: %s",
                self._where,
                chunk,
                sent.handle,
                error,
            )

    async def _forget(self, chunk: ChunkId) -> None:
        try:
            await self._write(self._sent.drop, chunk)
        except OSError as error:
            log.error("%s: chunk %s can't be struck off: %s", self._where, chunk, error)

    async def _write(self, write: Callable[..., None], *arguments: Any) -> None:
        async with self._writing:
            if self._closed:
                raise OSError("the adapter was closed")
            await in_thread_to_its_end(write, *arguments)

    def _name(self, chunk: ChunkId, mark: str) -> JobName:
        return JobName(f"qpu-executor:{self._sent.namespace}:{chunk}", mark)


def _mark(order: ChunkOrder) -> str:
    """Program and shots of an order, short enough for a tag."""
    return f"{order.program.hash[:12]}:{order.first_shot}+{order.shots}"


def _shots_of(mark: str | None) -> int:
    _, _, shots = (mark or "").rpartition("+")
    return int(shots) if shots.isdigit() else 0
