"""Long lists, written piece by piece: between two pieces everybody else has their turn.

All requests are answered by one event loop, which a list of thousands of tasks would
otherwise hold for a good part of a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from fastapi.responses import Response
from pydantic import BaseModel

PIECE = 100
"""Items between two pauses: a few milliseconds of work."""

Item = TypeVar("Item")


async def in_pieces(items: Sequence[Item], size: int = PIECE) -> AsyncIterator[Sequence[Item]]:
    """The items, `size` at a time, with a pause for others after each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        await asyncio.sleep(0)


async def list_answer(
    name: str, items: Sequence[Item], out: Callable[[Item], BaseModel], **rest: Any
) -> Response:
    """A JSON object: the list under its name, each item by its own model, then the rest."""
    pieces: list[str] = []
    async for piece in in_pieces(items):
        pieces.append(",".join(out(one).model_dump_json() for one in piece))
    tail = "".join(f", {json.dumps(key)}: {json.dumps(value)}" for key, value in rest.items())
    body = f'{{"{name}": [{",".join(pieces)}]{tail}}}'
    return Response(body, media_type="application/json")
