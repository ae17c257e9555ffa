"""What a simulated QPU remembers, in memory or in a file that outlives the manager.

The file stands for the machine's own memory: a manager that is killed and started
again finds its chunk still running, and what ended meanwhile. It is written whole
or not at all; the power of the machine that simulates is not simulated, so it is
not flushed to the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qpu_executor.cancellation import in_thread_to_its_end
from qpu_executor.errors import StoreError
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.simulated_drift import Deviations

FORMAT = 1
_REMEMBERED = 8
"""Ended chunks in the file: a manager leaves at most the last few unasked, with one slot."""


@dataclass(slots=True)
class ChunkEnd:
    """How a chunk's time on the QPU ended. `taken`: shots that are to be counted."""

    kind: OutcomeKind
    at: Instant
    taken: int
    message: str = ""


@dataclass(slots=True)
class SimulatedChunk:
    """A chunk without an outcome yet. `setup_s`: before its first shot.

    `end`: None while it occupies the QPU; afterwards its counts are being read out.
    `atoms`: of its register. `deviations`: of the QPU when it began (None: without noise).
    """

    id: ChunkId
    program: Program
    first_shot: int
    shots: int
    seed: int
    accepted_at: Instant
    setup_s: float
    epoch: str
    end: ChunkEnd | None = None
    atoms: int = 0
    deviations: Deviations | None = None


@dataclass(slots=True)
class MachineState:
    """Everything that a simulated QPU knows.

    `born_at`: when it was first opened: closings count from there. `idle_since`: end of
    the last chunk. `epoch`: number of the epoch, `epoch_since`: when it began.
    `calibrating_until`: end of the calibration that runs. `calibration_asked`: when
    one was asked for that hasn't begun.
    """

    born_at: Instant
    idle_since: Instant
    epoch_since: Instant
    epoch: int = 0
    calibrating_until: Instant | None = None
    calibration_asked: Instant | None = None
    layout: str | None = None
    last_task: int | None = None
    chunks: dict[ChunkId, SimulatedChunk] = field(default_factory=dict)
    ended: OrderedDict[ChunkId, ChunkOutcome] = field(default_factory=OrderedDict)

    @classmethod
    def new(cls, now: Instant) -> MachineState:
        """A machine that was switched on, freshly calibrated, now."""
        return cls(born_at=now, idle_since=now, epoch_since=now)

    def settle(self, chunk: ChunkId, outcome: ChunkOutcome) -> None:
        """A chunk has its outcome."""
        self.chunks.pop(chunk, None)
        self.ended[chunk] = outcome
        if len(self.ended) > _REMEMBERED:
            self.ended.popitem(last=False)


class MachineFile:
    """A `MachineState` in a file. Writes follow each other in the order of the calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = asyncio.Lock()

    async def read(self) -> MachineState | None:
        """What was written last; None without a file. Raises StoreError for a foreign one."""
        try:
            text = await asyncio.to_thread(self._path.read_text, "utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        try:
            return _from_document(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None

    async def write(self, state: MachineState) -> None:
        """Replace the file. Raises OSError, and then leaves what was written before."""
        async with self._writing:
            await in_thread_to_its_end(self._replace, json.dumps(_document(state)))

    def _replace(self, text: str) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(text, "utf-8")
        os.replace(new, self._path)

    def _unreadable(self, reason: str) -> StoreError:
        return StoreError(
            f"the simulated QPU's memory can't be read: {reason}",
            where=str(self._path),
            next_step="remove the file: the QPU then starts anew and knows no chunk",
        )


def _document(state: MachineState) -> dict[str, Any]:
    machine = {
        key: getattr(state, key) for key in state.__slots__ if key not in ("chunks", "ended")
    }
    return {
        "format": FORMAT,
        "machine": machine,
        "chunks": [_chunk_document(one) for one in state.chunks.values()],
        "ended": [[str(chunk), _outcome_document(one)] for chunk, one in state.ended.items()],
    }


def _chunk_document(chunk: SimulatedChunk) -> dict[str, Any]:
    end = chunk.end
    return {
        **{key: getattr(chunk, key) for key in chunk.__slots__ if key not in ("id", "program")},
        "id": str(chunk.id),
        "program": [chunk.program.kind, chunk.program.content],
        "end": None if end is None else {**asdict(end), "kind": end.kind.value},
        "deviations": None if chunk.deviations is None else asdict(chunk.deviations),
    }


def _outcome_document(outcome: ChunkOutcome) -> dict[str, Any]:
    # Its health was that of the moment, and is asked for anew.
    kept = {key: getattr(outcome, key) for key in outcome.__slots__ if key != "health"}
    kept.update(
        kind=outcome.kind.value, counts=dict(outcome.counts), versions=dict(outcome.versions)
    )
    return kept


def _from_document(document: Mapping[str, Any]) -> MachineState:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}, this version reads {FORMAT}")
    state = MachineState(**document["machine"])
    for one in document["chunks"]:
        chunk = SimulatedChunk(
            **{
                **one,
                "id": ChunkId.parse(one["id"]),
                "program": Program(*one["program"]),
                "end": _end(one["end"]),
                # Not there in what was written before machines had noise.
                "deviations": None if not (found := one.get("deviations")) else Deviations(**found),
            }
        )
        state.chunks[chunk.id] = chunk
    for name, one in document["ended"]:
        kind = OutcomeKind(one["kind"])
        state.ended[ChunkId.parse(name)] = ChunkOutcome(**{**one, "kind": kind})
    return state


def _end(document: Mapping[str, Any] | None) -> ChunkEnd | None:
    if document is None:
        return None
    return ChunkEnd(**{**document, "kind": OutcomeKind(document["kind"])})
