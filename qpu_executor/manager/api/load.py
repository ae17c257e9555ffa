"""What is under way, by caller: who has too much is refused, and the rest go in turn.

Work on requests is done by one event loop. So that a caller with many requests doesn't
make another's wait, each has a few at work; its others wait in a line of its own, and
the lines are served in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpu_executor.errors import ManagerBusy
from qpu_executor.manager.api.limits import Limits

AT_WORK = 64
"""Requests at work in all."""
AT_WORK_PER_CALLER = 8
"""As many as it takes to keep the store's commits shared; more only wait for each other."""
AMONG_OTHERS = 2
"""The same while others ask too: their requests wait for each of these, at every step."""
RECENTLY_S = 1.0
"""For so long a caller is one of those who ask."""
URGENT = 16
"""Requests under way of one caller that don't wait in line."""

Line = deque[asyncio.Future[None]]


class Turns:
    """Gives turns to callers' requests: `take` one, `give_back` when the answer begins."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._free = AT_WORK
        self._at_work: Counter[str] = Counter()
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._asked_at_s: OrderedDict[str, float] = OrderedDict()

    async def take(self, caller: str) -> None:
        """Wait for a turn."""
        self._asked_at_s[caller] = self._now_s()
        self._asked_at_s.move_to_end(caller)
        if self._free > 0 and self._at_work[caller] < self._most():
            self._begin(caller)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(caller, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the turn came at the same moment
                self.give_back(caller)
            raise

    def give_back(self, caller: str) -> None:
        """A turn is over: the next line's first goes on."""
        self._free += 1
        self._at_work[caller] -= 1
        if not self._at_work[caller]:
            del self._at_work[caller]
        self._next()

    def _most(self) -> int:
        """How many of a caller's requests may be at work now."""
        before_s = self._now_s() - RECENTLY_S
        while self._asked_at_s and next(iter(self._asked_at_s.values())) < before_s:
            self._asked_at_s.popitem(last=False)
        callers = self._asked_at_s.keys() | self._lines.keys()
        return AT_WORK_PER_CALLER if len(callers) <= 1 else AMONG_OTHERS

    def _begin(self, caller: str) -> None:
        self._free -= 1
        self._at_work[caller] += 1

    def _next(self) -> None:
        """Serve the lines in turn, as long as there is a free place and somebody who may go."""
        most, served = self._most(), True
        while served:
            served = False
            for caller in list(self._lines):
                if self._free > 0 and self._at_work[caller] < most:
                    served |= self._serve(caller)

    def _serve(self, caller: str) -> bool:
        """Let the first of a line go; its next one comes after the other lines'."""
        line = self._lines[caller]
        while line and line[0].done():  # whoever waited has gone
            line.popleft()
        went = bool(line)
        if went:
            self._begin(caller)
            line.popleft().set_result(None)
        if line:
            self._lines.move_to_end(caller)
        else:
            del self._lines[caller]
        return went


class Load:
    """The counts, and the limits that they are held against."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.turns = Turns()
        self.bodies_bytes = 0
        self._requests: Counter[str] = Counter()
        self._urgent: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()

    @contextmanager
    def request(self, caller: str, *, urgent: bool) -> Iterator[None]:
        """One request is under way. Raises ManagerBusy.

        `urgent`: it isn't held up by the caller's others, or by anybody's.
        """
        if urgent and self._urgent[caller] < URGENT:
            with _counted(self._urgent, caller):
                yield
            return
        most = self.limits.requests_per_caller
        if self._requests[caller] >= most:
            raise _too_many(caller, most, "requests under way", "requests_per_caller")
        if self._requests.total() >= self.limits.max_requests:
            raise _too_busy("has too many requests under way")
        with _counted(self._requests, caller):
            yield

    def forget_body(self, size: int) -> None:
        """So many bytes of a body are needed no longer."""
        self.bodies_bytes -= size

    @contextmanager
    def stream(self, caller: str) -> Iterator[None]:
        """One event stream is open. Raises ManagerBusy."""
        most = self.limits.event_streams_per_caller
        if self._streams[caller] >= most:
            raise _too_many(caller, most, "event streams open", "event_streams_per_caller")
        if self._streams.total() >= self.limits.max_event_streams:
            raise _too_busy("has too many event streams open")
        with _counted(self._streams, caller):
            yield

    def connected(self, peer: str) -> ManagerBusy | None:
        """A connection is open; why nothing is answered on it, if that is so."""
        self._connections[peer] += 1
        most = self.limits.connections_per_caller
        if self._connections[peer] > most:
            return _too_many(peer, most, "connections open", "connections_per_caller")
        if self.connections > self.limits.max_connections:
            return _too_busy("has too many connections open")
        return None

    def disconnected(self, peer: str) -> None:
        """The connection has ended."""
        self._connections[peer] -= 1
        if not self._connections[peer]:
            del self._connections[peer]

    @property
    def connections(self) -> int:
        """Open ones, those that are refused among them."""
        return self._connections.total()


@contextmanager
def _counted(counter: Counter[str], caller: str) -> Iterator[None]:
    counter[caller] += 1
    try:
        yield
    finally:
        counter[caller] -= 1
        if not counter[caller]:
            del counter[caller]


def _too_many(caller: str, most: int, what: str, key: str) -> ManagerBusy:
    return ManagerBusy(
        f"{caller} has {most} {what}, as many as one caller may have",
        own_limit=True,
        where=f"limits.{key}",
        next_step="wait for some of them to end",
    )


def _too_busy(what: str) -> ManagerBusy:
    return ManagerBusy(f"the manager {what}", next_step="nothing was done; try again")
