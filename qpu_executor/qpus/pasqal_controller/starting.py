"""Handing a chunk to the controller: once, unless it is proven that it didn't arrive."""

from __future__ import annotations

import asyncio
import logging

from qpu_executor.errors import DeviceError, ManagerUnreachable
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.qpus.pasqal_controller.connection import (
    Answer,
    Connection,
    NoAnswerError,
    NotAllowedError,
    NotSentError,
)
from qpu_executor.qpus.pasqal_controller.finding import Absence, Missing, find_job
from qpu_executor.qpus.pasqal_controller.messages import (
    Job,
    NonsenseError,
    is_ours,
    new_job,
    read_job,
)
from qpu_executor.qpus.pasqal_controller.preparing import Prepared
from qpu_executor.qpus.pasqal_controller.record import Sent, SentRecord

log = logging.getLogger(__name__)

RETRY_S = (0.05, 0.2, 0.5, 1.0)
"""Pauses before a job is sent again that is proven not to be at the controller."""


class JobRefusedError(Exception):
    """The controller doesn't take the job; `answer` is what it said."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class Starter:
    """`name`: of the QPU, for messages."""

    def __init__(self, name: str, connection: Connection, record: SentRecord) -> None:
        self._name = name
        self._connection = connection
        self._record = record

    async def hand_over(self, chunk: ChunkId, prepared: Prepared, shots: int, at: Instant) -> Job:
        """The chunk's job. `at`: now.

        Raises JobRefusedError or DeviceError (it isn't at the controller), or
        ManagerUnreachable (nobody knows).
        """
        try:
            sent = await self._record.sending(chunk, shots, prepared.atoms, at)
            body = new_job(chunk, self._record.mark(chunk), prepared.sequence, shots)
            found = await self._attempt(chunk, sent, body)
            for pause_s in RETRY_S:
                if isinstance(found, Job):
                    break
                log.warning("QPU %s: chunk %s is sent again: %s", self._name, chunk, found)
                await asyncio.sleep(pause_s)
                await self._record.sending_again(chunk)
                found = await self._attempt(chunk, sent, body)
        except OSError as error:
            raise self._failed(f"what is sent can't be written down: {error}") from None
        if isinstance(found, Job):
            self._record.accepted(chunk, found.number)
            return found
        self._record.never_sent(chunk)
        raise self._failed(found)

    async def look_for(self, chunk: ChunkId, sent: Sent) -> Job | Missing:
        """The job of a chunk whose acceptance nobody saw."""
        record = self._record
        return await find_job(
            self._connection,
            record.mark(chunk),
            sent.shots,
            newest=sent.before,
            newest_mark=record.newest_mark if record.newest == sent.before else None,
        )

    async def _attempt(self, chunk: ChunkId, sent: Sent, body: dict[str, object]) -> Job | str:
        """Send it; the job, or why it is certain that there is none."""
        try:
            answer = await self._connection.post("/jobs", body)
        except (NotSentError, NotAllowedError) as error:
            self._record.never_sent(chunk)
            raise self._failed(str(error)) from None
        except NoAnswerError as error:
            return await self._looked_for(chunk, sent, str(error), ended=False)
        if answer.ok:
            try:
                job = read_job(answer.body)
            except NonsenseError as error:
                return await self._looked_for(chunk, sent, str(error), ended=False)
            if is_ours(job, self._record.mark(chunk), sent.shots) is False:
                said = f"it answered with job {job.number}, which is another one"
                return await self._looked_for(chunk, sent, said, ended=False)
            return job
        if answer.failed:
            return await self._looked_for(chunk, sent, str(answer), ended=True)
        self._record.never_sent(chunk)
        raise JobRefusedError(answer)

    async def _looked_for(
        self, chunk: ChunkId, sent: Sent, failure: str, *, ended: bool
    ) -> Job | str:
        """`ended`: the controller itself ended the request, so nothing comes of it later.

        Raises ManagerUnreachable where the job may still come about.
        """
        if ended:
            self._record.request_over(chunk)
        found = await self.look_for(chunk, sent)
        if isinstance(found, Job):
            log.warning(
                "QPU %s: job %d is chunk %s, found after: %s",
                self._name,
                found.number,
                chunk,
                failure,
            )
            return found
        if ended and found.absence is not Absence.UNCLEAR:
            return failure
        raise ManagerUnreachable(f"{failure}; {found.reason}", where=f"QPU {self._name}")

    def _failed(self, message: str) -> DeviceError:
        return DeviceError(message, where=f"QPU {self._name}")
