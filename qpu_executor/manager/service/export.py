"""What is about to be dropped, as plain records: one JSON document each.

A task's record has its row, its program, and its chunks with their counts; a session's and
a journal record are the row. Columns are those of the store.
"""

from __future__ import annotations

from typing import Any

from qpu_executor.manager.service.retention import Batch
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.rows import CHUNK, JOURNAL, PROGRAM, SESSION, TASK

VERSION = 1


async def records_of(store: Store, batch: Batch) -> list[dict[str, Any]]:
    """The tasks, sessions and journal rows of a batch, in their order."""
    programs = await store.programs({row.program_hash for row in batch.tasks})
    chunks = await store.chunks([row.id for row in batch.tasks])
    found: list[dict[str, Any]] = []
    for row in batch.tasks:
        program = programs.get(row.program_hash)
        found.append(
            {
                "record": "task",
                "version": VERSION,
                "task": TASK.values(row),
                "program": None if program is None else PROGRAM.values(program),
                "chunks": [CHUNK.values(chunk) for chunk in chunks[row.id]],
            }
        )
    for session_id in batch.sessions:
        session = await store.session(session_id)
        if session is not None:
            values = SESSION.values(session)
            found.append({"record": "session", "version": VERSION, "session": values})
    for one in await store.journal_rows(batch.journal):
        found.append({"record": "journal", "version": VERSION, "row": JOURNAL.values(one)})
    return found
