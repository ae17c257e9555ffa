"""Verbs of both clients that steer the manager: QPUs, windows, policy, tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from qpu_executor.client import protocol
from qpu_executor.wire.audit import AuditList
from qpu_executor.wire.policy import (
    PolicyOut,
    SettleRequest,
    WindowList,
    WindowOut,
    WindowRequest,
)
from qpu_executor.wire.retention import PrunableOut, PrunedOut, PruneRequest, RecordsOut
from qpu_executor.wire.site import QpuOut
from qpu_executor.wire.tasks import TaskOut
from qpu_executor.wire.tokens import NewTokenOut, TokenList, TokenOut, TokenRequest

if TYPE_CHECKING:
    from qpu_executor.client.channel import Channel
    from qpu_executor.client.loop_thread import LoopThread


class AsyncOperating:
    """Verbs that steer; others than operators get NotAllowed where it says so."""

    _channel: Channel

    async def drain(self, qpu: str, reason: str = "") -> QpuOut:
        """Let a QPU take nothing new; what runs there ends. For operators."""
        return await self._channel.call(protocol.drain(qpu, reason), QpuOut)

    async def resume(self, qpu: str) -> QpuOut:
        """Let a drained QPU take tasks again. For operators."""
        return await self._channel.call(protocol.resume(qpu), QpuOut)

    async def calibrate(self, qpu: str) -> QpuOut:
        """Ask for a calibration of a QPU, after the chunk that runs. For operators."""
        return await self._channel.call(protocol.calibrate(qpu), QpuOut)

    async def settle(self, task_id: int, verdict: SettleRequest) -> TaskOut:
        """Say what became of a task's chunk that is UNKNOWN. For operators.

        Raises UnknownTask, and RequestRefused where its QPU answers for the chunk.
        """
        return await self._channel.call(protocol.settle(task_id, verdict), TaskOut)

    async def reload_policy(self) -> PolicyOut:
        """Read the site file's scheduling part again; the queue stays. For operators."""
        return await self._channel.call(protocol.reload_policy(), PolicyOut)

    async def announce_window(self, qpu: str, window: WindowRequest) -> list[WindowOut]:
        """Close a QPU, or keep it for some, at a time; returns all windows. For operators."""
        request = protocol.announce_window(qpu, window)
        return (await self._channel.call(request, WindowList)).windows

    async def withdraw_window(self, qpu: str, name: str) -> list[WindowOut]:
        """Take an announced window back; returns those that are left. For operators."""
        return (await self._channel.call(protocol.withdraw_window(qpu, name), WindowList)).windows

    async def audit(
        self,
        *,
        before: int | None = None,
        since: datetime | None = None,
        by: str | None = None,
        what: str | None = None,
        limit: int = 100,
    ) -> AuditList:
        """What operators and services did, the newest first; a page. For operators.

        `before`: as the page before said. `since`: with a time zone. `by`: a user's name.
        """
        return await self._channel.call(protocol.audit(before, since, by, what, limit), AuditList)

    async def prunable(self, older_than_s: float) -> PrunableOut:
        """How much is older than that and could be dropped. For operators."""
        return await self._channel.call(protocol.prunable(older_than_s), PrunableOut)

    async def prunable_records(self, older_than_s: float) -> RecordsOut:
        """What a prune would drop next, with programs and counts. For operators."""
        return await self._channel.call(protocol.prunable_records(older_than_s), RecordsOut)

    async def prune(self, body: PruneRequest) -> PrunedOut:
        """Drop a part of what is old enough; `more` says to ask again. For operators."""
        return await self._channel.call(protocol.prune(body), PrunedOut)

    async def issue_token(self, wanted: TokenRequest) -> NewTokenOut:
        """A new bearer token, which is shown this once."""
        return await self._channel.call(protocol.issue_token(wanted), NewTokenOut)

    async def tokens(self) -> list[TokenOut]:
        """The caller's tokens; everybody's for operators."""
        return (await self._channel.call(protocol.tokens(), TokenList)).tokens

    async def revoke_token(self, token_id: str) -> TokenOut:
        """End a token now."""
        return await self._channel.call(protocol.revoke_token(token_id), TokenOut)


class Operating:
    """The same verbs, waiting for their answers."""

    _client: AsyncOperating
    _thread: LoopThread

    def drain(self, qpu: str, reason: str = "") -> QpuOut:
        """Let a QPU take nothing new; what runs there ends. For operators."""
        return self._thread.run(self._client.drain(qpu, reason))

    def resume(self, qpu: str) -> QpuOut:
        """Let a drained QPU take tasks again. For operators."""
        return self._thread.run(self._client.resume(qpu))

    def calibrate(self, qpu: str) -> QpuOut:
        """Ask for a calibration of a QPU, after the chunk that runs. For operators."""
        return self._thread.run(self._client.calibrate(qpu))

    def settle(self, task_id: int, verdict: SettleRequest) -> TaskOut:
        """Say what became of a task's chunk that is UNKNOWN. For operators.

        Raises UnknownTask, and RequestRefused where its QPU answers for the chunk.
        """
        return self._thread.run(self._client.settle(task_id, verdict))

    def reload_policy(self) -> PolicyOut:
        """Read the site file's scheduling part again; the queue stays. For operators."""
        return self._thread.run(self._client.reload_policy())

    def announce_window(self, qpu: str, window: WindowRequest) -> list[WindowOut]:
        """Close a QPU, or keep it for some, at a time; returns all windows. For operators."""
        return self._thread.run(self._client.announce_window(qpu, window))

    def withdraw_window(self, qpu: str, name: str) -> list[WindowOut]:
        """Take an announced window back; returns those that are left. For operators."""
        return self._thread.run(self._client.withdraw_window(qpu, name))

    def audit(
        self,
        *,
        before: int | None = None,
        since: datetime | None = None,
        by: str | None = None,
        what: str | None = None,
        limit: int = 100,
    ) -> AuditList:
        """What operators and services did, the newest first; a page. For operators.

        `before`: as the page before said. `since`: with a time zone. `by`: a user's name.
        """
        return self._thread.run(
            self._client.audit(before=before, since=since, by=by, what=what, limit=limit)
        )

    def prunable(self, older_than_s: float) -> PrunableOut:
        """How much is older than that and could be dropped. For operators."""
        return self._thread.run(self._client.prunable(older_than_s))

    def prunable_records(self, older_than_s: float) -> RecordsOut:
        """What a prune would drop next, with programs and counts. For operators."""
        return self._thread.run(self._client.prunable_records(older_than_s))

    def prune(self, body: PruneRequest) -> PrunedOut:
        """Drop a part of what is old enough; `more` says to ask again. For operators."""
        return self._thread.run(self._client.prune(body))

    def issue_token(self, wanted: TokenRequest) -> NewTokenOut:
        """A new bearer token, which is shown this once."""
        return self._thread.run(self._client.issue_token(wanted))

    def tokens(self) -> list[TokenOut]:
        """The caller's tokens; everybody's for operators."""
        return self._thread.run(self._client.tokens())

    def revoke_token(self, token_id: str) -> TokenOut:
        """End a token now."""
        return self._thread.run(self._client.revoke_token(token_id))
