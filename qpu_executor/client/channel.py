"""Calls to one manager that outlast busy answers and broken connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from qpu_executor.client.problems import read_reply
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.client.retry import NoAnswer, Patience, unreachable
from qpu_executor.client.transport import Transport
from qpu_executor.client.versions import refusal
from qpu_executor.errors import ManagerBusy, QpuExecutorError

M = TypeVar("M", bound=BaseModel)


class Channel:
    """A transport with patience.

    `manager_version`: what it said at the first contact, empty before that.
    `wait_s`: how long an unreachable manager is waited for. `ended`: asked when
    no answer came; returns the error if the manager is known to be gone for good.
    """

    def __init__(
        self,
        transport: Transport,
        wait_s: float,
        ended: Callable[[], QpuExecutorError | None] = lambda: None,
    ) -> None:
        self.transport = transport
        self.wait_s = wait_s
        self._ended = ended
        self.manager_version = ""

    @property
    def url(self) -> str:
        """The manager's URL."""
        return self.transport.address.url

    def patience(self, wait_s: float | None = None) -> PatientWait:
        """A new wait, which starts now (`wait_s`: the channel's own if None)."""
        return PatientWait(self.url, self.wait_s if wait_s is None else wait_s, self._ended)

    async def call(self, request: ApiRequest, model: type[M], wait_s: float | None = None) -> M:
        """Send a request until it is answered; the answer as `model`.

        Raises the error that the manager answers, ManagerBusy or
        ManagerUnreachable once the time is over.
        """
        patience = self.patience(wait_s)
        while True:
            try:
                reply = await self.transport.send(request)
                busy = refusal(reply, request, self.url, self.manager_version)
                if busy is None:
                    return read_reply(reply, model, self.url)
                if not isinstance(busy, ManagerBusy):
                    raise busy
            except NoAnswer as lost:
                await patience.pause(lost, request)
            else:
                await patience.pause(busy, request)


class PatientWait:
    """Patience on the real clock."""

    def __init__(
        self, url: str, wait_s: float, ended: Callable[[], QpuExecutorError | None]
    ) -> None:
        self._url = url
        self._ended = ended
        self._started_at = time.monotonic()
        self._patience = Patience(wait_s, self._started_at)

    async def pause(self, failure: NoAnswer | ManagerBusy, request: ApiRequest) -> None:
        """Sleep until the next attempt is due.

        Raises ManagerBusy or ManagerUnreachable when there is none.
        """
        if isinstance(failure, NoAnswer) and (gone := self._ended()) is not None:
            raise gone from None
        now = time.monotonic()
        jitter = random.random()  # noqa: S311 (spreads load, guards nothing)
        delay_s = self._patience.delay_s(failure, request, now=now, jitter=jitter)
        if delay_s is not None:
            await asyncio.sleep(delay_s)
        elif isinstance(failure, ManagerBusy):
            raise failure
        else:
            waited_s = now - self._started_at
            raise unreachable(self._url, failure, request, waited_s=waited_s) from None
