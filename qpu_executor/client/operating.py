"""Operators' verbs of both clients: what they ask of QPUs and of the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpu_executor.client import protocol
from qpu_executor.wire.policy import PolicyOut, WindowList, WindowOut, WindowRequest
from qpu_executor.wire.site import QpuOut

if TYPE_CHECKING:
    from qpu_executor.client.channel import Channel
    from qpu_executor.client.loop_thread import LoopThread


class AsyncOperating:
    """Verbs for operators. Anybody else gets NotAllowed."""

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

    def reload_policy(self) -> PolicyOut:
        """Read the site file's scheduling part again; the queue stays. For operators."""
        return self._thread.run(self._client.reload_policy())

    def announce_window(self, qpu: str, window: WindowRequest) -> list[WindowOut]:
        """Close a QPU, or keep it for some, at a time; returns all windows. For operators."""
        return self._thread.run(self._client.announce_window(qpu, window))

    def withdraw_window(self, qpu: str, name: str) -> list[WindowOut]:
        """Take an announced window back; returns those that are left. For operators."""
        return self._thread.run(self._client.withdraw_window(qpu, name))
