"""Who waits for a chunk is answered, also where its adapter is opened anew meanwhile."""

from __future__ import annotations

import asyncio

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.running import RunningChunks

CHUNK = ChunkId(1, 0)
AWAY = ChunkOutcome(OutcomeKind.UNANSWERED)
DONE = ChunkOutcome(OutcomeKind.FINISHED)


async def test_who_waits_when_a_chunk_is_begun_again_is_told_its_end() -> None:
    chunks = RunningChunks()
    chunks.begin(CHUNK)
    waiting = asyncio.ensure_future(chunks.wait(CHUNK))
    await asyncio.sleep(0)
    chunks.begin(CHUNK)
    chunks.end(CHUNK, DONE)
    assert await asyncio.wait_for(waiting, 60) == DONE


async def test_what_is_let_go_of_is_not_known_and_who_waits_is_told() -> None:
    chunks = RunningChunks()
    chunks.begin(CHUNK)
    waiting = asyncio.ensure_future(chunks.wait(CHUNK))
    await asyncio.sleep(0)
    chunks.let_go(AWAY)
    assert await asyncio.wait_for(waiting, 60) == AWAY
    assert CHUNK not in chunks
