"""The adapter: what the manager asks for, in the controller's words.

One job at a time, since a new one cancels the one before there. A chunk is looked for
before it is started again, and only the controller's own denial makes it unknown.

Longer than other files: the whole interface is here, so that each of its methods can be
held against the others (who begins a chunk, who ends it, who may ask in between).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qpu_executor import __version__
from qpu_executor.errors import DeviceError, ManagerUnreachable, PluginRefused, ProgramRefused
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import PULSER, ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.pasqal_controller.connection import (
    Connection,
    NoAnswerError,
    NotAllowedError,
    NotSentError,
)
from qpu_executor.qpus.pasqal_controller.device import PublishedDevice
from qpu_executor.qpus.pasqal_controller.finding import Absence, Missing
from qpu_executor.qpus.pasqal_controller.following import Followed, Follower
from qpu_executor.qpus.pasqal_controller.messages import NonsenseError, read_operational
from qpu_executor.qpus.pasqal_controller.outcomes import Stay
from qpu_executor.qpus.pasqal_controller.pace import Pace
from qpu_executor.qpus.pasqal_controller.preparing import Prepared, Preparing
from qpu_executor.qpus.pasqal_controller.record import Sent, SentRecord
from qpu_executor.qpus.pasqal_controller.refusing import Refusing
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings
from qpu_executor.qpus.pasqal_controller.starting import JobRefusedError, Starter
from qpu_executor.qpus.running import RunningChunks, not_known

log = logging.getLogger(__name__)

_LIMITS = {
    "can_calibrate": "the controller's API has no call that starts a calibration",
    "calibration": "the controller's API says UP or DOWN, and nothing of calibrations",
    "seeded": "atoms can't be seeded",
    "send_ahead": "a new job cancels the one that runs",
}
_NO_PARTIAL = "the controller's API doesn't promise the counts of a cancelled job"
_CLOSED = "the adapter was closed"
_HEALTH_RETRY_S = (0.05, 0.2)
_PROGRAM_REFUSED = (400, 413, 422)


def build(name: str, settings: Mapping[str, Any]) -> PasqalController:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    return PasqalController(name, ControllerSettings.read(name, settings))


class PasqalController:
    """See the module. `QpuAdapter` says what each method does.

    `preparing`: rebuilds programs (None: one of its own).
    """

    def __init__(
        self, name: str, settings: ControllerSettings, preparing: Preparing | None = None
    ) -> None:
        self._name = name
        self._settings = settings
        self._connection = Connection(settings)
        self._preparing = preparing or Preparing()
        rate = settings.shot_rate_hz
        self._pace = Pace(None if rate is None else 1.0 / rate, settings.setup_s)
        self._refusing = Refusing()
        self._chunks = RunningChunks()
        self._followed: dict[ChunkId, Followed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._max_shots: int | None = None
        self._clock: Clock | None = None
        self._device: PublishedDevice | None = None
        self._record: SentRecord | None = None

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self._name

    @property
    def requests(self) -> int:
        """Requests sent to the controller since it was built."""
        return self._connection.requests

    @property
    def capabilities(self) -> Capabilities:
        """As the device and the settings say; complete once opened."""
        partial = self._settings.partial_results
        return Capabilities(
            kinds=frozenset({PULSER}),
            slots=1,
            max_chunk_shots=self._max_shots,
            shot_rate_hz=self._settings.shot_rate_hz,
            can_ask=True,
            partial_results=partial,
            setup_s=self._settings.setup_s,
            limits=_LIMITS if partial else {**_LIMITS, "partial_results": _NO_PARTIAL},
        )

    async def open(self, clock: Clock, directory: Path) -> None:
        """Read the record of what was sent, and the device. Raises OperatorError or DeviceError.

        A controller that doesn't answer is no obstacle, if its device was seen before.
        """
        if self._record is not None:
            return
        if find_spec("pulser") is None:
            raise PluginRefused(
                "the package pulser isn't installed",
                where=f"QPU {self._name}",
                next_step="pip install 'qpu-executor[pulser]'",
            )
        self._clock = clock
        record = self._record = SentRecord(directory / f"{self._name}.controller.jsonl")
        await record.open()
        await self._connection.open()
        await self._preparing.open()
        device = self._device = PublishedDevice(
            self._name,
            self._connection,
            self._preparing,
            self._seconds,
            self._settings.specs_every_s,
        )
        device.recall(record.device or "")
        await device.keep_fresh()
        self._max_shots = device.fields.get("max_runs")
        record.saw_device(device.text)

    async def close(self) -> None:
        """Let go. The controller goes on with its job; who waits is told UNANSWERED."""
        record, self._record, self._device = self._record, None, None
        self._chunks.let_go(_unanswered(_CLOSED))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._followed.clear()  # they are looked for again when it is open
        await self._connection.close()
        await self._preparing.close()
        if record is not None:
            await record.close()

    async def describe(self) -> DeviceDescription:
        """The newest specification; read again if it is old."""
        device, record = self._opened()
        await device.keep_fresh()
        record.saw_device(device.text)
        return DeviceDescription(device.fields["name"], device.text)

    async def health(self) -> Health:
        """UP or DOWN as the controller says; DOWN where it can't be asked."""
        device = self._device
        if device is None:
            return Health(QpuState.DOWN, "the adapter isn't open")
        reason = ""
        for pause_s in (*_HEALTH_RETRY_S, None):
            try:
                answer = await self._connection.get("/system/operational")
                if not answer.ok:
                    raise NonsenseError(f"the controller can't say how it is ({answer})")
                return self._health(read_operational(answer.body), device)
            except (NotSentError, NotAllowedError) as error:
                return self._down(str(error))
            except (NoAnswerError, NonsenseError) as error:
                reason = str(error)
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        return self._down(reason)

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Nothing beyond the device's own rules."""
        return None

    async def start(self, order: ChunkOrder) -> None:
        """Send it as a job, once; see `QpuAdapter.start`."""
        device, record = self._opened()
        if order.chunk in self._chunks or record.find(order.chunk) is not None:
            raise self._wrong(
                f"chunk {order.chunk} was already sent",
                f"if the store is a new one, remove {self._name}.controller.jsonl beside it",
            )
        for other in self._followed.values():
            if not other.stop_asked:
                raise self._wrong(f"job {other.number} (chunk {other.chunk}) is running")
        await device.keep_fresh()
        prepared = await self._preparing.prepare(order.program, device.text)
        if (most := device.fields.get("max_runs")) is not None and order.shots > most:
            raise self._wrong(f"{order.shots} shots; it takes at most {most} in one run")
        if self._record is not record:
            raise self._wrong("the adapter was closed before the program was sent")
        assert self._clock is not None
        starter, sent_s = Starter(self._name, self._connection, record), self._seconds()
        try:
            job = await starter.hand_over(order.chunk, prepared, order.shots, self._clock.now())
        except JobRefusedError as refusal:
            raise await self._refused(refusal, order, device) from None
        except DeviceError as error:
            raise self._not_taken(order, error) from None
        self._refusing.took()
        if self._record is not record:
            raise ManagerUnreachable(
                f"{_CLOSED} while chunk {order.chunk} was sent", where=f"QPU {self._name}"
            )
        self._begin(order.chunk, job.number, self._stay(order, prepared, sent_s))

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes. What was let go of is to be asked about."""
        record = self._record
        sent = None if record is None else record.find(chunk)
        let_go = record is None or (sent is not None and not sent.never)
        if let_go and chunk not in self._chunks:
            return _unanswered(_CLOSED)
        return await self._chunks.wait(chunk)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """What became of a chunk; looked for at the controller where that isn't known."""
        record = self._record
        if record is None:
            return self._chunks.ask(chunk) if chunk in self._chunks else _unanswered(_CLOSED)
        followed = self._followed.get(chunk)
        if followed is not None:
            return None if followed.trouble is None else _unanswered(followed.trouble)
        if chunk in self._chunks and chunk not in self._chunks.running:
            return self._chunks.ask(chunk)
        sent = record.find(chunk)
        if sent is None and not record.complete:
            return _unanswered("the record of what was sent is new, or was cut off with the host")
        if sent is None or sent.never:
            return replace(not_known(chunk), message=f"chunk {chunk} never reached the controller")
        if sent.number is None:
            missing = await self._found(chunk, sent, record)
            if missing is not None:
                return missing
        else:
            self._begin(chunk, sent.number, self._old_stay(sent))
        followed = self._followed[chunk]
        ended = await self._follower().look(followed)
        if self._record is not record and chunk not in self._chunks:
            return _unanswered(_CLOSED)
        if not ended and followed.stay.silent_since_s is not None:
            return _unanswered(f"the controller doesn't answer about job {followed.number}")
        return self._chunks.ask(chunk)

    async def stop(self, chunk: ChunkId) -> None:
        """Cancel its job; where that can't be told now, at the next look."""
        followed = self._followed.get(chunk)
        if followed is None:
            return
        followed.stop_asked = True
        if not await self._follower().cancel(followed):
            followed.look_now.set()

    async def calibrate(self) -> None:
        """There is no such call. Raises DeviceError."""
        raise self._wrong(_LIMITS["can_calibrate"])

    # -- chunks -------------------------------------------------------------------

    def _begin(self, chunk: ChunkId, number: int, stay: Stay) -> None:
        assert self._record is not None
        followed = Followed(chunk, number, self._record.mark(chunk), stay)
        self._chunks.begin(chunk)
        self._followed[chunk] = followed
        work = self._follower().follow(followed)
        task = asyncio.create_task(work, name=f"job {number} of {self._name}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._left(followed, done))

    def _left(self, followed: Followed, task: asyncio.Task[None]) -> None:
        """Nobody follows the job any more. A mistake of ours leaves nobody waiting for ever."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("job %d can't be followed", followed.number, exc_info=error)
        self._followed.pop(followed.chunk, None)
        self._chunks.interrupt(followed.chunk, _unanswered(f"the adapter failed: {error!r}"))

    def _follower(self) -> Follower:
        return Follower(
            self._connection,
            self._settings,
            self._pace,
            self._seconds,
            self._ended,
            self._chunks.interrupt,
        )

    def _ended(self, chunk: ChunkId, outcome: ChunkOutcome) -> None:
        followed = self._followed.pop(chunk, None)
        if followed is not None:
            # Who stopped it may have heard of its end first.
            followed.look_now.set()
        pulser = "" if self._device is None else str(self._device.fields.get("pulser_version", ""))
        versions = {"qpu-executor": __version__, **({"pulser": pulser} if pulser else {})}
        self._chunks.end(chunk, replace(outcome, versions=versions))

    async def _found(self, chunk: ChunkId, sent: Sent, record: SentRecord) -> ChunkOutcome | None:
        """Look for a chunk whose acceptance nobody saw; None once it is followed."""
        found = await Starter(self._name, self._connection, record).look_for(chunk, sent)
        if self._record is not record:
            return _unanswered(_CLOSED)
        if not isinstance(found, Missing):
            if chunk not in self._followed:  # nobody else asked meanwhile
                record.accepted(chunk, found.number)
                self._begin(chunk, found.number, self._old_stay(sent))
            return None
        # What was sent to a controller that had just started anew may still be on its way.
        gone = found.absence is Absence.FORGOTTEN and self._since_s(sent) > self._settings.accept_s
        gone = gone or (found.absence is Absence.NOT_THERE and sent.over)
        if not gone and not (found.heard and self._given_up(sent)):
            return _unanswered(f"{found.reason}; nobody knows whether it will")
        record.never_sent(chunk)
        return ChunkOutcome(OutcomeKind.NOT_KNOWN, message=found.reason)

    def _given_up(self, sent: Sent) -> bool:
        after_s = self._settings.lost_after_s
        return after_s is not None and self._since_s(sent) >= after_s

    def _stay(self, order: ChunkOrder, prepared: Prepared, sent_s: float) -> Stay:
        return Stay(order.shots, prepared.atoms, sent_s=sent_s, accepted_s=self._seconds())

    def _old_stay(self, sent: Sent) -> Stay:
        """Of a job that was sent some time ago, perhaps by an earlier manager."""
        now_s = self._seconds()
        sent_s = now_s - self._since_s(sent)
        return Stay(sent.shots, sent.atoms, sent_s=sent_s, accepted_s=sent_s, there_s=now_s)

    def _since_s(self, sent: Sent) -> float:
        assert self._clock is not None
        return max(0, self._clock.now() - sent.sent_at) / MICROSECONDS

    # -- the rest -------------------------------------------------------------------

    async def _refused(
        self, refusal: JobRefusedError, order: ChunkOrder, device: PublishedDevice
    ) -> Exception:
        """Whose fault it is: the device may have changed since the program was checked."""
        if refusal.answer.status not in _PROGRAM_REFUSED:
            error = self._wrong(f"the controller takes no job now ({refusal})")
            return self._not_taken(order, error)
        try:
            changed = await device.read()
        except DeviceError as error:
            # Nobody can say whether the program fits: that is no fault of the task's.
            message = f"the controller doesn't take the program ({refusal}), and {error.message}"
            return self._not_taken(order, self._wrong(message, error.next_step))
        if changed:
            await self._preparing.prepare(order.program, device.text)
            return self._wrong("the device changed while the chunk was sent; it is sent again")
        return ProgramRefused(
            f"the controller doesn't take the program ({refusal})",
            where=f"QPU {self._name}",
            rule="controller",
            next_step=f"compare it with the device: qpu info {self._name} --device",
        )

    def _not_taken(self, order: ChunkOrder, error: DeviceError) -> DeviceError:
        assert self._clock is not None
        self._refusing.refused(order.chunk.task_id, error.message, self._clock.now())
        return error

    def _health(self, state: QpuState, device: PublishedDevice) -> Health:
        if state is not QpuState.UP:
            return Health(state, "the controller says that it isn't operational")
        most = device.fields.get("max_runs")
        if most is not None and (self._max_shots is None or most < self._max_shots):
            reason = f"its device takes at most {most} shots a run now; chunks are planned anew"
            return Health(QpuState.DOWN, reason, outdated=True)
        refusing = None if self._clock is None else self._refusing.health(self._clock.now())
        return refusing or Health(QpuState.UP, device.trouble)

    def _down(self, reason: str) -> Health:
        """It may be back any moment: it is looked at again soon."""
        until = None if self._clock is None else self._clock.now() + MICROSECONDS
        return Health(QpuState.DOWN, reason, until)

    def _seconds(self) -> float:
        return asyncio.get_running_loop().time()

    def _opened(self) -> tuple[PublishedDevice, SentRecord]:
        if self._device is None or self._record is None:
            raise self._wrong("the adapter isn't open")
        return self._device, self._record

    def _wrong(self, message: str, next_step: str | None = None) -> DeviceError:
        return DeviceError(message, where=f"QPU {self._name}", next_step=next_step)


def _unanswered(message: str) -> ChunkOutcome:
    return ChunkOutcome(OutcomeKind.UNANSWERED, message=message)
