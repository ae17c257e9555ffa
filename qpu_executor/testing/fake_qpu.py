"""A QPU for tests: chunks end when the test says so, or at once with given counts.

    qpu = FakeQpu("fake")
    await qpu.open()
    ...                                   # the code under test starts a chunk
    order = await qpu.next_order()        # wait for it
    qpu.finish(order.chunk, {"00": 7, "11": 3})

It never touches a clock, a thread or a file, and writes down every call.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

from qpu_executor.errors import DeviceError, ProgramRefused, QpuExecutorError
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import PULSER, ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.running import RunningChunks

Answer = Callable[[ChunkOrder], Mapping[str, int] | None]
"""Gives a chunk's counts, or None to let the test end it."""

DEFAULT_CAPABILITIES = Capabilities(
    kinds=frozenset({PULSER, "fake"}), can_ask=True, emulated=True, seeded=True
)
EPOCH = "fake-1"


def seeded_counts(order: ChunkOrder) -> Mapping[str, int]:
    """Counts of two bits that follow from (seed, shot number): an `Answer`."""
    shots = range(order.first_shot, order.first_shot + order.shots)
    return Counter(format((order.seed * 31 + shot * 7 + shot // 3) % 4, "02b") for shot in shots)


class FakeQpu:
    """A scripted QpuAdapter.

    `answer`: ends chunks by itself (None: the test ends all of them). `device`:
    what `describe` says. `calls`: (method, chunk or None) in order. `orders`:
    every order that was accepted, by chunk. `delivered`: shots given per chunk.
    Test-settable: `state` (health), `refuse_start` (raised by `start`),
    `atom_limit` (for `refusal`), `epoch`.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        capabilities: Capabilities = DEFAULT_CAPABILITIES,
        device: DeviceDescription | None = None,
        answer: Answer | None = None,
    ) -> None:
        self._name = name
        self._capabilities = capabilities
        self._device = device or DeviceDescription("FakeDevice")
        self._answer = answer
        self._chunks = RunningChunks()
        self._unseen: deque[ChunkOrder] = deque()
        self._arrived = asyncio.Event()
        self._hung: dict[ChunkId, str] = {}
        self.is_open = False
        self.state = Health(QpuState.UP)
        self.refuse_start: QpuExecutorError | None = None
        self.atom_limit: int | None = None
        self.epoch: str | None = EPOCH
        self.calls: list[tuple[str, ChunkId | None]] = []
        self.orders: dict[ChunkId, ChunkOrder] = {}
        self.delivered: Counter[ChunkId] = Counter()

    # What the manager uses.

    @property
    def name(self) -> str:
        """The QPU's name."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """As given."""
        return self._capabilities

    async def open(self, clock: Clock | None = None, directory: Path | None = None) -> None:
        """Open. Needs neither a clock nor a directory."""
        self.calls.append(("open", None))
        self.is_open = True

    async def close(self) -> None:
        """Close; running chunks end as STOPPED without shots."""
        self.calls.append(("close", None))
        for chunk in self._chunks.running:
            self._end(chunk, OutcomeKind.STOPPED, message="the QPU was closed")
        self.is_open = False

    async def describe(self) -> DeviceDescription:
        """As given."""
        if not self.is_open:
            raise DeviceError("the QPU isn't open", where=f"QPU {self._name}")
        return self._device

    async def health(self) -> Health:
        """`state` while open."""
        return self.state if self.is_open else Health(QpuState.DOWN, "the QPU isn't open")

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Refuses programs with more atoms than `atom_limit`."""
        if self.atom_limit is None or facts.atoms <= self.atom_limit:
            return None
        return ProgramRefused(
            f"the program has {facts.atoms} atoms; {self._name} takes at most {self.atom_limit}",
            rule="fake_max_atoms",
        )

    async def start(self, order: ChunkOrder) -> None:
        """Accept a chunk, unless it is refused or all slots are taken."""
        self.calls.append(("start", order.chunk))
        if self.refuse_start is not None:
            raise self.refuse_start
        if not self.is_open:
            raise DeviceError("the QPU isn't open", where=f"QPU {self._name}")
        if order.program.kind not in self._capabilities.kinds:
            raise ProgramRefused(f"no programs of kind {order.program.kind!r}", rule="kind")
        if order.chunk in self._chunks:
            raise DeviceError(f"chunk {order.chunk} was already started here")
        if len(self._chunks.running) >= self._capabilities.slots:
            raise DeviceError(f"all {self._capabilities.slots} slots are taken")
        self._chunks.begin(order.chunk)
        self.orders[order.chunk] = order
        counts = self._answer(order) if self._answer is not None else None
        if counts is not None:
            self.finish(order.chunk, counts)
        self._unseen.append(order)
        self._arrived.set()

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, once it is given; UNANSWERED while the chunk hangs."""
        self.calls.append(("wait", chunk))
        return self._unanswered(chunk) if chunk in self._hung else await self._chunks.wait(chunk)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """The outcome, None while it runs, UNANSWERED while it hangs."""
        self.calls.append(("ask", chunk))
        return self._unanswered(chunk) if chunk in self._hung else self._chunks.ask(chunk)

    async def stop(self, chunk: ChunkId) -> None:
        """End a running chunk as STOPPED, without shots."""
        self.calls.append(("stop", chunk))
        self._end(chunk, OutcomeKind.STOPPED, message="stopped")

    async def calibrate(self) -> None:
        """Written down in `calls`; the test sets `state` as it goes on. Refused if it can't."""
        self.calls.append(("calibrate", None))
        if not self._capabilities.can_calibrate:
            raise DeviceError("it can't be calibrated", where=f"QPU {self._name}")

    # What the test uses.

    @property
    def running(self) -> tuple[ChunkId, ...]:
        """Chunks that wait for the test to end them, oldest first."""
        return self._chunks.running

    async def next_order(self) -> ChunkOrder:
        """The next order that `start` accepted and this method hasn't given yet."""
        while not self._unseen:
            self._arrived.clear()
            await self._arrived.wait()
        return self._unseen.popleft()

    def finish(
        self, chunk: ChunkId, counts: Mapping[str, int] | None = None, *, device_s: float = 1.0
    ) -> None:
        """The chunk took its shots (default: `seeded_counts`)."""
        found = counts if counts is not None else seeded_counts(self.orders[chunk])
        self._must_end(chunk, OutcomeKind.FINISHED, counts=found, device_s=device_s)

    def stop_with(self, chunk: ChunkId, counts: Mapping[str, int], device_s: float = 0.5) -> None:
        """The chunk ended early with partial counts."""
        self._must_end(chunk, OutcomeKind.STOPPED, counts=counts, device_s=device_s)

    def fail(self, chunk: ChunkId, message: str = "the laser is out of lock") -> None:
        """The device failed; the shots can be taken again."""
        self._must_end(chunk, OutcomeKind.FAULT, message=message)

    def refuse(self, chunk: ChunkId, message: str = "the program can't be run") -> None:
        """The device refuses the program for good."""
        self._must_end(chunk, OutcomeKind.REFUSED, message=message)

    def lose(self, chunk: ChunkId) -> None:
        """The QPU denies knowing the chunk from now on (also one never started)."""
        self._hung.pop(chunk, None)
        self._chunks.forget(chunk)

    def hang(self, chunk: ChunkId, message: str = "the QPU doesn't answer") -> None:
        """The QPU stops answering about the chunk, until `answer_again` or `lose`."""
        self._hung[chunk] = message
        self._chunks.interrupt(chunk, self._unanswered(chunk))

    def answer_again(self, chunk: ChunkId) -> None:
        """The QPU answers about the chunk again; it still runs, if it did."""
        self._hung.pop(chunk, None)

    def _unanswered(self, chunk: ChunkId) -> ChunkOutcome:
        return ChunkOutcome(OutcomeKind.UNANSWERED, message=self._hung[chunk])

    def _must_end(
        self,
        chunk: ChunkId,
        kind: OutcomeKind,
        *,
        counts: Mapping[str, int] | None = None,
        device_s: float = 0.0,
        message: str = "",
    ) -> None:
        if not self._end(chunk, kind, counts=counts, device_s=device_s, message=message):
            raise AssertionError(f"chunk {chunk} doesn't run at {self._name}: {self.running}")

    def _end(
        self,
        chunk: ChunkId,
        kind: OutcomeKind,
        *,
        counts: Mapping[str, int] | None = None,
        device_s: float = 0.0,
        message: str = "",
    ) -> bool:
        outcome = ChunkOutcome(
            kind,
            counts=dict(counts or {}),
            device_s=device_s,
            epoch=self.epoch,
            message=message,
            versions={"fake": "1"},
        )
        ended = self._chunks.end(chunk, outcome)
        if ended and outcome.shots:
            self.delivered[chunk] += outcome.shots
        return ended
