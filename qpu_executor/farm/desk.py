"""The farm's book of chunks: names that managers gave, and what became of them.

A name means one order for good: the same order again changes nothing, another one under
the same name is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from qpu_executor import __version__
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, OutcomeKind
from qpu_executor.qpus.emulator_backends import version_of
from qpu_executor.qpus.farm_protocol import (
    PROTOCOL,
    ChunkReport,
    ChunkRequest,
    FarmCapabilities,
    FarmDevice,
    FarmHealth,
    State,
)
from qpu_executor.qpus.pulser_emulator import PulserEmulator

_REMEMBERED = 1024
MOST_RUNNING = 10_000

_STATES: dict[OutcomeKind, State] = {
    OutcomeKind.FINISHED: "finished",
    OutcomeKind.STOPPED: "stopped",
    OutcomeKind.REFUSED: "refused",
    OutcomeKind.FAULT: "fault",
}


class UnknownChunk(Exception):
    """No chunk has this name here (any more)."""


class NameTaken(Exception):
    """The name means another order."""


class FarmFull(Exception):
    """No more chunks can wait."""


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: str
    chunk: ChunkId


class Desk:
    """Takes orders for an opened emulator, by the names that managers give them.

    `trouble`: says why nothing can be run at the moment (None: it can).
    """

    def __init__(self, emulator: PulserEmulator, trouble: Callable[[], str | None]) -> None:
        self._emulator = emulator
        self._trouble = trouble
        self._farm = secrets.token_hex(8)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._taken = 0

    async def take(self, request: ChunkRequest) -> ChunkReport:
        """Begin a chunk, or find it begun. Raises ProgramRefused, NameTaken or FarmFull."""
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        entry = self._entries.get(request.id)
        if entry is not None:
            if entry.digest != digest:
                raise NameTaken(f"chunk {request.id} is another order here")
            return await self.report(request.id)
        if self._emulator.running >= MOST_RUNNING:
            raise FarmFull(f"{MOST_RUNNING} chunks wait here already")
        chunk = ChunkId(self._taken, 0)
        await self._emulator.start(
            ChunkOrder(
                chunk,
                Program(request.kind, request.content),
                request.first_shot,
                request.shots,
                request.seed,
            )
        )
        self._taken += 1
        self._entries[request.id] = _Entry(digest, chunk)
        self._forget_old_ones()
        return ChunkReport(id=request.id, state="running")

    async def report(self, name: str, wait_s: float = 0.0) -> ChunkReport:
        """How a chunk ended, as soon as it has, but after `wait_s` at the latest.

        Raises UnknownChunk.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownChunk(f"no chunk {name} is known here")
        outcome = await self._emulator.ask(entry.chunk)
        if outcome is None and wait_s > 0:
            try:
                async with asyncio.timeout(wait_s):
                    outcome = await self._emulator.wait(entry.chunk)
            except TimeoutError:
                outcome = None
        return self._said(name, outcome)

    async def stop(self, name: str) -> ChunkReport:
        """End a chunk early. Raises UnknownChunk."""
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownChunk(f"no chunk {name} is known here")
        await self._emulator.stop(entry.chunk)
        return await self.report(name)

    async def health(self) -> FarmHealth:
        """Whether chunks are taken."""
        found = await self._emulator.health()
        trouble = self._trouble() or found.reason
        return FarmHealth(
            protocol=PROTOCOL,
            farm=self._farm,
            device=await self._hash(),
            state="down" if trouble or found.state is not QpuState.UP else "up",
            reason=trouble,
            running=self._emulator.running,
        )

    def capabilities(self) -> FarmCapabilities:
        """What can be done here."""
        can, limits = self._emulator.capabilities, self._emulator.limits
        return FarmCapabilities(
            protocol=PROTOCOL,
            version=__version__,
            kinds=sorted(can.kinds),
            slots=can.slots,
            max_chunk_shots=can.max_chunk_shots,
            backends={one.value: version_of(one)[1] for one in limits.installed},
            backend=None if limits.backend is None else limits.backend.value,
            max_atoms=limits.max_atoms,
            memory_bytes=limits.memory_bytes,
            run_s=limits.run_s,
            max_bond_dim=limits.max_bond_dim,
        )

    async def device(self) -> FarmDevice:
        """The device that is emulated."""
        found = await self._emulator.describe()
        return FarmDevice(name=found.device_name, pulser_device=found.pulser_device or "")

    async def _hash(self) -> str:
        """Of all that a manager plans with; another one means that it has to look again."""
        known = [self.capabilities().model_dump(), (await self.device()).model_dump()]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

    def _said(self, name: str, outcome: ChunkOutcome | None) -> ChunkReport:
        if outcome is None:
            return ChunkReport(id=name, state="running")
        state = _STATES.get(outcome.kind)
        if state is None:
            raise UnknownChunk(f"chunk {name} was forgotten here")
        return ChunkReport(
            id=name,
            state=state,
            counts=dict(outcome.counts),
            device_s=outcome.device_s,
            setup_s=outcome.setup_s,
            message=outcome.message,
            versions=dict(outcome.versions),
        )

    def _forget_old_ones(self) -> None:
        while len(self._entries) > MOST_RUNNING + _REMEMBERED:
            self._entries.popitem(last=False)
