"""A QPU that is reached as a service that runs jobs: each chunk is one job there.

The rules, for any `JobService`:

- A chunk is written down before its job is sent (`sent_chunks.py`), and a job is sent
  with one request, never repeated. Where jobs can be found by name, the name is looked
  for before the request, and again if its answer is lost: a job that is found is
  adopted. Where they can't, a lost answer leaves the chunk unanswered, unless the
  answer comes late (`job_sending.py`).
- A name that isn't found is denied only once the service had time to show it.
- An SDK call has a deadline and a thread of its own; one that hangs stops neither the
  loop nor the other calls.
- Credentials that aren't accepted close the QPU, with one message, and harm no task.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine
from pathlib import Path

from qpu_executor.cancellation import CancelledElsewhereError, only_own_cancellation
from qpu_executor.errors import DeviceError, ManagerUnreachable, ProgramRefused, QpuExecutorError
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.job_calls import JobCalls
from qpu_executor.qpus.job_following import JobFollowing, Looks
from qpu_executor.qpus.job_polling import Pauses, ShotTime
from qpu_executor.qpus.job_sending import JobSending
from qpu_executor.qpus.job_service import JobService, JobServiceError, not_this_kind
from qpu_executor.qpus.job_service_settings import JobServiceSettings
from qpu_executor.qpus.known_device import known_device
from qpu_executor.qpus.running import RunningChunks, not_known
from qpu_executor.qpus.sent_chunks import SentChunk, SentChunks

log = logging.getLogger(__name__)

_CLOSED = "the adapter was closed"
_CLOSING_S = 5.0
"""How long `close` waits for a job that is being sent, so that its handle isn't lost."""


class JobServiceQpu:
    """See the module."""

    def __init__(self, name: str, settings: JobServiceSettings, service: JobService) -> None:
        self._name = name
        self._settings = settings
        self._service = service
        self._where = f"QPU {name}"
        self._chunks = RunningChunks()
        self._jobs: dict[ChunkId, JobFollowing] = {}
        self._starting: dict[ChunkId, asyncio.Task[None]] = {}
        self._stop_asked: set[ChunkId] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._shot_time = ShotTime(settings.shot_rate_hz)
        self._clock: Clock | None = None
        self._calls: JobCalls | None = None
        self._sending: JobSending | None = None
        self._device: DeviceDescription | None = None
        self._max_runs: int | None = None
        self._seen: tuple[float, Health] | None = None

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """As the service and the settings say; complete once opened."""
        limits = (self._settings.max_chunk_shots, self._max_runs)
        return Capabilities(
            kinds=self._service.kinds,
            slots=self._settings.slots,
            min_chunk_shots=self._settings.min_chunk_shots,
            max_chunk_shots=min((one for one in limits if one is not None), default=None),
            shot_rate_hz=self._settings.shot_rate_hz,
            can_ask=True,
            partial_results=False,
            emulated=self._service.emulated,
            seeded=False,
            setup_s=self._settings.setup_s,
            limits=self._service.limits,
        )

    # -- opening and closing --------------------------------------------------

    async def open(self, clock: Clock, directory: Path) -> None:
        """Load the SDK, connect, and read which jobs were sent before.

        Raises OperatorError, ConfigError, or DeviceError (the service doesn't answer, and
        never did).
        """
        if self._sending is not None:
            return
        self._clock = clock
        self._calls = calls = JobCalls(self._where, self._settings)
        await calls.before_sending(self._service.open)
        self._device = await known_device(
            lambda: calls.before_sending(self._service.device),
            directory / f"{self._name}.device.json",
        )
        self._max_runs = _max_runs(self._device.pulser_device)
        sent = SentChunks(directory / f"{self._name}.jobs.json")
        await asyncio.to_thread(sent.read)
        self._sending = JobSending(self._where, self._service, calls, sent, self._settings.settle_s)
        calls.opened = True

    async def close(self) -> None:
        """Let go. Jobs go on at the service; the next manager asks about them."""
        if self._starting:
            await asyncio.wait(self._starting.values(), timeout=_CLOSING_S)
        calls, sending = self._calls, self._sending
        self._calls, self._sending, self._device = None, None, None
        tasks = [*self._following, *self._starting.values()]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            if sending is not None:
                await sending.close()
        finally:  # also where the manager doesn't wait for that any longer: nobody follows them
            self._jobs.clear()  # they are looked for again when it is open
            self._chunks.let_go(_unanswered(_CLOSED))
        if calls is not None:
            try:
                await calls.run(self._service.close, deadline_s=_CLOSING_S)
            except JobServiceError as error:
                log.warning("%s: its SDK can't be closed: %s", self._where, error)

    async def describe(self) -> DeviceDescription:
        """The device that programs have to be built for."""
        if self._device is None:
            raise self._not_open()
        return self._device

    # -- the QPU ------------------------------------------------------------------

    async def health(self) -> Health:
        """As the service says; DOWN while it doesn't, or doesn't accept our credentials."""
        if self._calls is None or self._clock is None or self._sending is None:
            return Health(QpuState.DOWN, "it isn't open")
        now = asyncio.get_running_loop().time()
        barred = self._calls.barred
        if barred is not None and now < barred[0]:
            until = self._clock.now() + int((barred[0] - now) * MICROSECONDS)
            return Health(QpuState.DOWN, barred[1], until=until)
        if self._seen is not None and now - self._seen[0] < self._settings.health_every_s:
            return self._seen[1]
        try:
            said = await self._calls.run(self._service.health)
            health = Health(said.state, said.reason)
        except JobServiceError as error:
            health = Health(QpuState.DOWN, str(error))
        self._seen = (now, health)
        return health

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Programs with more atoms than `max_atoms` are refused."""
        limit = self._settings.max_atoms
        if limit is None or facts.atoms <= limit:
            return None
        return ProgramRefused(
            f"the program has {facts.atoms} atoms; {self._name} takes at most {limit}",
            rule="max_atoms",
        )

    async def calibrate(self) -> None:
        """Refused: no service of this kind takes such a request."""
        raise DeviceError("its service calibrates by itself, when it wants to", where=self._where)

    # -- one chunk ----------------------------------------------------------------

    async def start(self, order: ChunkOrder) -> None:
        """Send a chunk as one job; see `QpuAdapter.start`."""
        if self._sending is None:
            raise self._not_open()
        if order.program.kind not in self._service.kinds:
            raise not_this_kind(self._where, order.program.kind, self._service.kinds)
        self._service.refuse(order.program, order.shots)
        chunk = order.chunk
        if chunk in self._chunks or chunk in self._starting or self._sending.knows(chunk):
            raise DeviceError(
                f"chunk {chunk} was already sent",
                where=self._where,
                next_step=f"if the store is a new one, remove {self._name}.jobs.json beside it",
            )
        # A task of its own: a manager that ends must not forget a job that it is sending.
        starting = asyncio.create_task(self._start(order, self._sending), name=f"chunk {chunk}")
        self._starting[chunk] = starting
        starting.add_done_callback(lambda done: self._started(chunk, done))
        try:
            with only_own_cancellation():
                await asyncio.shield(starting)
        except CancelledElsewhereError:
            raise ManagerUnreachable(
                f"{_CLOSED} while chunk {chunk} was sent", where=self._where
            ) from None

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes; UNANSWERED while the service says nothing about it.

        What was let go of is to be asked about.
        """
        job = self._jobs.get(chunk)
        if job is not None and job.silence is not None:
            return _unanswered(job.silence)
        let_go = self._sending is None or self._sending.knows(chunk)
        if let_go and chunk not in self._chunks:
            return _unanswered(_CLOSED)
        return await self._chunks.wait(chunk)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """What became of a chunk, perhaps of an earlier incarnation."""
        job = self._jobs.get(chunk)
        if job is not None and job.silence is not None:
            job.nudge()
            return _unanswered(job.silence)
        if chunk in self._chunks:
            return self._chunks.ask(chunk)
        sending = self._sending
        if sending is None:
            return _unanswered(_CLOSED)
        try:
            found = await sending.search(chunk)
        except (JobServiceError, OSError) as error:
            return _unanswered(str(error))
        if self._sending is not sending:
            return _unanswered(_CLOSED)
        if found is None:
            return not_known(chunk)
        if chunk not in self._chunks:  # nobody else asked meanwhile
            self._follow(chunk, found, at_once=True)
        return self._chunks.ask(chunk)

    async def stop(self, chunk: ChunkId) -> None:
        """Ask the service to cancel the job. The outcome is what the service then says."""
        job = self._jobs.get(chunk)
        if job is None or self._calls is None:
            if chunk in self._starting:
                self._stop_asked.add(chunk)
            return
        job.stop_asked = True
        try:
            await self._calls.run(self._service.cancel, job.handle)
        except JobServiceError as error:
            log.warning("%s: job %s can't be cancelled: %s", self._where, job.handle, error)
        job.nudge()

    async def _start(self, order: ChunkOrder, sending: JobSending) -> None:
        try:
            sent = await sending.send(order)
        except QpuExecutorError:
            self._seen = None  # whether it is open is worth a new look
            raise
        self._follow(order.chunk, sent, at_once=False)
        if order.chunk in self._stop_asked:
            await self.stop(order.chunk)

    def _started(self, chunk: ChunkId, done: asyncio.Task[None]) -> None:
        self._starting.pop(chunk, None)
        self._stop_asked.discard(chunk)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.info("%s: chunk %s wasn't sent: %s", self._where, chunk, error)

    def _follow(self, chunk: ChunkId, sent: SentChunk, *, at_once: bool) -> None:
        calls = self._calls
        if calls is None or sent.handle is None:
            return
        job = JobFollowing(
            sent.handle,
            sent.shots,
            Looks(
                lambda handle: calls.run(self._service.progress, handle),
                lambda handle: calls.run(self._service.counts, handle),
                self._service.versions,
            ),
            pauses=Pauses(*self._settings.poll_s),
            shot_time=self._shot_time,
            silent_after_s=self._settings.answer_within_s,
            on_silence=lambda why: self._chunks.interrupt(chunk, _unanswered(why)),
            age_s=time.time() - sent.sent_at,
        )
        self._chunks.begin(chunk)
        self._jobs[chunk] = job
        self._spawn(self._to_the_end(chunk, job, at_once))

    async def _to_the_end(self, chunk: ChunkId, job: JobFollowing, at_once: bool) -> None:
        try:
            outcome = await job.to_the_end(at_once=at_once)
        except Exception as error:  # a mistake of ours: the job may well be running
            log.exception("%s: chunk %s can't be followed", self._where, chunk)
            job.silence = f"it can't be followed: {error!r}"
            self._chunks.interrupt(chunk, _unanswered(job.silence))
            return
        self._jobs.pop(chunk, None)
        if outcome.kind is OutcomeKind.NOT_KNOWN:
            self._chunks.forget(chunk)
        else:
            self._chunks.end(chunk, outcome)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def _not_open(self) -> DeviceError:
        return DeviceError("it isn't open", where=self._where)


def _unanswered(message: str) -> ChunkOutcome:
    return ChunkOutcome(OutcomeKind.UNANSWERED, message=message)


def _max_runs(device_json: str | None) -> int | None:
    """The device's own limit of shots in one job; None where it says none."""
    try:
        found = json.loads(device_json or "{}")
    except ValueError:
        return None
    limit = found.get("max_runs") if isinstance(found, dict) else None
    return limit if isinstance(limit, int) and limit > 0 else None
