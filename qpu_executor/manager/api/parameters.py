"""What stands in paths and queries, with its bounds and its words in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query

from qpu_executor.model.values import MAX_TASK_ID

MAX_JOURNAL_N = 2**53 - 1
"""The largest whole number that every JSON reader keeps; no journal gets there."""

TaskNumber = Annotated[int, Path(ge=0, le=MAX_TASK_ID, description="a task's `id`")]
QpuName = Annotated[str, Path(description="a QPU's `name`, as `GET /v1/qpus` lists it")]
SessionId = Annotated[str, Path(description="a session's `id`")]
WindowName = Annotated[str, Path(description="the `name` of a window that was announced")]
TokenId = Annotated[str, Path(description="a token's `id` (not the token itself)")]
ProgramHash = Annotated[
    str, Path(description="SHA-256 (hexadecimal) over the kind, a zero byte, and the content")
]
OfSession = Annotated[str | None, Query(description="of this session only")]
Key = Annotated[
    str | None,
    Header(
        max_length=200,
        description="the same key names the same task, so that a request may be repeated; with "
        "several tasks, task i has the key `<header>#i`",
    ),
]
AfterTask = Annotated[
    int, Query(ge=0, le=MAX_TASK_ID, description="only tasks with a greater `id`: the next page")
]
Limit = Annotated[int, Query(ge=1, le=10_000, description="tasks on a page, at most")]
Partial = Annotated[
    bool, Query(description="the shots counted so far, also of a task that goes on or has failed")
]
AfterEntry = Annotated[
    int | None,
    Query(
        ge=0, le=MAX_JOURNAL_N, description="journal number to go on from; from now on if left out"
    ),
]
LastEventId = Annotated[
    int | None,
    Header(
        ge=0, le=MAX_JOURNAL_N, description="the same, as browsers send it; `after` goes before it"
    ),
]
