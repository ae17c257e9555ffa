"""A QPU that is an emulator farm elsewhere (kind `emulator-farm`).

The farm is a process of its own (`qpu farm serve`), perhaps on another host, with Parsl or
Dask behind it; here is only a client of its HTTP/JSON protocol (`farm_protocol.py`).

Rules: the farm is believed in nothing but numbers, within bounds. A chunk has one name for
good, so telling the farm twice runs it once. A farm that is started again knows no chunk:
its shots are taken again. One that doesn't answer for `forget_after_s` counts as gone: an
emulation can be repeated without harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from qpu_executor.errors import DeviceError, ManagerUnreachable, ProgramRefused
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus import farm_protocol as protocol
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.emulator_choice import choose
from qpu_executor.qpus.farm_client import (
    BadAnswer,
    FarmClient,
    FarmTrouble,
    NoAnswer,
    NotConnected,
    Refused,
)
from qpu_executor.qpus.farm_memory import FarmFile, KnownFarm
from qpu_executor.qpus.farm_protocol import ChunkReport, ChunkRequest
from qpu_executor.qpus.farm_settings import FarmSettings
from qpu_executor.qpus.farm_token import read_token

EPOCH = "ideal"

_ENDS = {
    "finished": OutcomeKind.FINISHED,
    "stopped": OutcomeKind.STOPPED,
    "refused": OutcomeKind.REFUSED,
    "fault": OutcomeKind.FAULT,
}
_TRIES = 3
"""Of a request whose answer got lost; telling twice does nothing the second time."""
_PAUSE_S = 0.1
_START = "start the farm: qpu farm serve --config FILE"


def build(name: str, settings: Mapping[str, Any]) -> EmulatorFarm:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    return EmulatorFarm(name, FarmSettings.read(name, settings))


class EmulatorFarm:
    """See the module."""

    def __init__(self, name: str, settings: FarmSettings) -> None:
        self._name = name
        self._settings = settings
        self._client = FarmClient(name, settings)
        self._known: KnownFarm | None = None
        self._shots: dict[ChunkId, int] = {}
        self._closing: asyncio.Event | None = None
        self._silent_since: float | None = None

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """As the farm says; complete once opened."""
        if self._known is None:
            return Capabilities(kinds=frozenset())
        can = self._known.capabilities
        return Capabilities(
            kinds=frozenset(can.kinds),
            slots=can.slots,
            max_chunk_shots=can.max_chunk_shots,
            can_ask=True,
            partial_results=False,
            emulated=True,
            seeded=True,
        )

    async def open(self, clock: Clock, directory: Path) -> None:
        """Learn what the farm can do; from the file of an earlier time where it is away.

        Raises DeviceError (no farm, and never one before), ConfigError or StoreError.
        """
        if self._known is not None:
            return
        self._client.start()
        try:
            self._known = await self._meet(FarmFile(directory / f"{self._name}.farm.json"))
        except BaseException:
            await self._client.close()
            raise
        self._closing = asyncio.Event()

    async def close(self) -> None:
        """Let go. The farm's chunks go on without us; a later manager asks about them."""
        if self._closing is not None:
            self._closing.set()
        self._known = None
        await self._client.close()

    async def describe(self) -> DeviceDescription:
        """The device that the farm emulates."""
        device = self._opened().device
        return DeviceDescription(device.name, device.pulser_device)

    async def health(self) -> Health:
        """DOWN while the farm is away, says so, or has become another one."""
        known = self._known
        if known is None:
            return Health(QpuState.DOWN, "the farm's adapter isn't open")
        try:
            found = await self._heard(self._client.get(protocol.HEALTH, protocol.FarmHealth))
        except FarmTrouble as trouble:
            return Health(QpuState.DOWN, str(trouble))
        if found.device != known.device_hash:
            reason = "the farm's device or limits have changed; they are read anew"
            return Health(QpuState.DOWN, reason, outdated=True)
        if found.state == "down":
            return Health(QpuState.DOWN, found.reason or "the farm takes no chunks")
        return Health(QpuState.UP)

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Programs that no emulator of the farm does, or for which it is too small."""
        known = self._opened()
        try:
            choose(facts, known.limits())
        except ProgramRefused as refused:
            return refused
        return None

    async def start(self, order: ChunkOrder) -> None:
        """Hand a chunk over; see `QpuAdapter.start`. Told again where the answer got lost."""
        known = self._opened()
        request = ChunkRequest(
            id=known.key(order.chunk),
            kind=order.program.kind,
            content=order.program.content,
            first_shot=order.first_shot,
            shots=order.shots,
            seed=order.seed,
        )
        try:
            await self._told(lambda: self._client.post(protocol.CHUNKS, ChunkReport, request))
        except Refused as refused:
            raise _refusal(refused, self._name) from None
        except (NotConnected, BadAnswer) as trouble:
            raise DeviceError(str(trouble), where=f"QPU {self._name}") from None
        except NoAnswer as trouble:
            raise ManagerUnreachable(str(trouble), where=f"QPU {self._name}") from None
        self._shots[order.chunk] = order.shots

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes. One question at a time is held by the farm."""
        closing = self._closing
        if self._known is None or closing is None:
            return _unanswered("the farm's adapter isn't open")
        asking = asyncio.ensure_future(self._until_ended(chunk))
        leaving = asyncio.ensure_future(closing.wait())
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else _unanswered("the connection was closed")
        finally:
            asking.cancel()
            leaving.cancel()
            await asyncio.gather(asking, leaving, return_exceptions=True)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """What the farm says; a farm that is gone for good no longer knows."""
        return await self._state(chunk, 0.0)

    async def stop(self, chunk: ChunkId) -> None:
        """Ask for an early end. A farm that is away isn't asked again: `wait` tells."""
        if self._known is None:
            return
        path = f"{protocol.CHUNKS}/{self._known.key(chunk)}/stop"
        try:
            await self._told(lambda: self._client.post(path, ChunkReport))
        except FarmTrouble:
            return

    async def calibrate(self) -> None:
        """Refused: without noise there is nothing to calibrate."""
        raise DeviceError("an emulator farm isn't calibrated", where=f"QPU {self._name}")

    # -- what is asked ----------------------------------------------------------

    async def _meet(self, file: FarmFile) -> KnownFarm:
        """What the farm is, or was when it was last there."""
        if self._settings.token_file is not None:
            where = f"qpus.{self._name}.token_file"
            await asyncio.to_thread(read_token, self._settings.token_file, where)
        known = await file.read()
        try:
            found = await self._look()
        except FarmTrouble as trouble:
            if known is not None and isinstance(trouble, NotConnected | NoAnswer):
                return known
            raise DeviceError(str(trouble), where=f"QPU {self._name}", next_step=_START) from None
        found = found.owned_by(known)
        await file.write(found)
        return found

    async def _look(self) -> KnownFarm:
        health = await self._told(lambda: self._client.get(protocol.HEALTH, protocol.FarmHealth))
        can = await self._client.get(protocol.CAPABILITIES, protocol.FarmCapabilities)
        device = await self._client.get(protocol.DEVICE, protocol.FarmDevice)
        return KnownFarm(can, device, health.device)

    async def _until_ended(self, chunk: ChunkId) -> ChunkOutcome:
        while True:
            outcome = await self._state(chunk, protocol.MAX_WAIT_S)
            if outcome is not None:
                return outcome

    async def _state(self, chunk: ChunkId, hold_s: float) -> ChunkOutcome | None:
        """The outcome; None while it runs. Asked again once where the answer got lost."""
        if self._known is None:
            return _unanswered("the farm's adapter isn't open")
        path = f"{protocol.CHUNKS}/{self._known.key(chunk)}?wait_s={hold_s:g}"
        try:
            report = await self._told(lambda: self._client.get(path, ChunkReport, hold_s=hold_s))
        except Refused as refused:
            if refused.problem.error == "unknown":
                return ChunkOutcome(OutcomeKind.NOT_KNOWN, message="the farm doesn't know it")
            return _unanswered(f"the farm refuses to say: {refused}")
        except FarmTrouble as trouble:
            return self._gone(trouble)
        return self._outcome(chunk, report)

    def _gone(self, trouble: FarmTrouble) -> ChunkOutcome:
        since, longest = self._silent_since, self._settings.forget_after_s
        if since is not None and monotonic() - since >= longest:
            return ChunkOutcome(
                OutcomeKind.NOT_KNOWN,
                message=f"the farm hasn't answered for {longest:g} s: its chunks are gone",
            )
        return _unanswered(str(trouble))

    def _outcome(self, chunk: ChunkId, report: ChunkReport) -> ChunkOutcome | None:
        """What a report comes to; one that contradicts itself is the farm's fault."""
        if report.state == "running":
            return None
        kind, counts, message = _ENDS[report.state], dict(report.counts), report.message
        given, asked = sum(counts.values()), self._shots.get(chunk)
        if kind is not OutcomeKind.FINISHED:
            counts = {}
        elif given == 0 or (asked is not None and given != asked):
            kind, counts = OutcomeKind.FAULT, {}
            message = f"the farm gave {given} shots; {asked or 'some'} were asked for"
        elif len({len(bits) for bits in report.counts}) > 1:
            kind, counts = OutcomeKind.FAULT, {}
            message = "the farm gave bitstrings of several lengths"
        return ChunkOutcome(
            kind,
            counts=counts,
            device_s=report.device_s,
            setup_s=report.setup_s,
            epoch=EPOCH,
            message=message,
            versions=dict(report.versions),
        )

    # -- how it is asked ----------------------------------------------------------

    async def _told(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """The answer to a request that may be repeated. Raises the last FarmTrouble.

        Once an answer got lost the request may have arrived, whatever comes of the next ones.
        """
        lost: NoAnswer | None = None
        for _ in range(_TRIES):
            if lost is not None:
                await asyncio.sleep(_PAUSE_S)
            try:
                return await self._heard(request())
            except NoAnswer as trouble:
                lost = trouble
            except NotConnected as trouble:
                if lost is None:
                    raise
                raise NoAnswer(str(trouble)) from None
        assert lost is not None
        raise lost

    async def _heard(self, request: Awaitable[Any]) -> Any:
        """Wait for an answer, and remember since when there is none."""
        try:
            answer = await request
        except (NotConnected, NoAnswer):
            if self._silent_since is None:
                self._silent_since = monotonic()
            raise
        except FarmTrouble:
            self._silent_since = None
            raise
        self._silent_since = None
        return answer

    def _opened(self) -> KnownFarm:
        if self._known is None:
            raise DeviceError("the farm's adapter isn't open", where=f"QPU {self._name}")
        return self._known


def _refusal(refused: Refused, name: str) -> ProgramRefused | DeviceError:
    problem = refused.problem
    if problem.error in ("refused", "bad-request", "too-large"):
        return ProgramRefused(
            problem.message, rule=problem.rule or problem.error, next_step=problem.next_step
        )
    return DeviceError(problem.message, where=f"QPU {name}", next_step=problem.next_step)


def _unanswered(message: str) -> ChunkOutcome:
    return ChunkOutcome(OutcomeKind.UNANSWERED, message=message)
