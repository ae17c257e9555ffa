"""Renews the leases of a client's sessions, whatever the client's own event loop does.

In a thread with a connection of its own: a coroutine that computes for a minute keeps its
event loop, and with it the client, from doing anything, but loses no lease. (An extension
that keeps Python's interpreter lock for so long does.) Losing a lease ends nothing: there
is a warning, and the next renewal brings the session back. Only a manager that says that the
session has ended ends its renewals.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import threading
import time
from collections.abc import Callable

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.client import protocol
from qpu_executor.client.address import Address
from qpu_executor.client.channel import Channel
from qpu_executor.client.credentials import Credentials
from qpu_executor.client.lease import Lease
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.client.transport import Transport
from qpu_executor.wire.sessions import HeartbeatOut

log = logging.getLogger(__name__)


class Keeper:
    """Begins with the first session that it is given, and ends with `close`.

    `tell`: takes warnings.
    """

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        tell: Callable[[str], None] = log.warning,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._tell = tell
        self._thread = LoopThread("qpu-sessions")
        self._lock = threading.Lock()
        self._started = False
        self._closed = False
        self._channel: Channel | None = None
        self._renewals: dict[str, asyncio.Task[None]] = {}

    def keep(self, session_id: str, lease_s: float) -> None:
        """Renew a session's lease of so many seconds from now on."""
        lease = Lease(session_id, lease_s, time.monotonic())
        with self._lock:
            if self._closed:  # while the session was opened
                return
            if not self._started:
                self._thread.start()
                self._started = True
            self._thread.soon(lambda: self._begin(lease))

    def forget(self, session_id: str) -> None:
        """Renew a session no longer."""
        with self._lock:
            if self._started:
                self._thread.soon(lambda: self._end(session_id))

    def close(self) -> None:
        """Renew nothing any more, for good. May be called again; sessions stay open."""
        with self._lock:
            self._closed = True
            started, self._started = self._started, False
        if started:
            self._thread.stop(self._last)

    # -- on the thread's loop -------------------------------------------------------

    def _begin(self, lease: Lease) -> None:
        self._end(lease.session_id)
        renewal = asyncio.get_running_loop().create_task(self._renew(lease))
        self._renewals[lease.session_id] = renewal

    def _end(self, session_id: str) -> None:
        renewal = self._renewals.pop(session_id, None)
        if renewal is not None:
            renewal.cancel()

    async def _renew(self, lease: Lease) -> None:
        request = protocol.heartbeat(lease.session_id)
        while True:
            await asyncio.sleep(lease.pause_s(random.random()))  # noqa: S311 (spreads load)
            try:
                with only_own_cancellation():
                    channel = await self._connected()
                    answer = await channel.call(request, HeartbeatOut, wait_s=lease.patience_s)
            except Exception as error:  # whatever it is: nobody else renews this lease
                if lease.is_over(error):
                    self._tell(lease.ended(error))
                    self._renewals.pop(lease.session_id, None)
                    return
                told = lease.unanswered(error, time.monotonic())
            else:
                told = lease.renewed(answer, time.monotonic())
            if told is not None:
                self._tell(told)

    async def _connected(self) -> Channel:
        if self._channel is None:
            # Credentials remember what the manager asked for: no two threads share them.
            own = copy.copy(self._credentials)
            channel = Channel(Transport(self._address, own), wait_s=0.0)
            await channel.transport.start()
            self._channel = channel
        return self._channel

    async def _last(self) -> None:
        renewals = list(self._renewals.values())
        for renewal in renewals:
            renewal.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
        if self._channel is not None:
            await self._channel.transport.close()
