"""Programs of the tasks at hand, so that a chunk needn't wait for the store."""

from __future__ import annotations

from collections import OrderedDict

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.base import Store
from qpu_executor.programs.program import Program


class ProgramShelf:
    """The most recently used programs, up to `limit` characters; the rest is in the store."""

    def __init__(self, store: Store, limit: int = 64_000_000) -> None:
        self._store = store
        self._limit = limit
        self._size = 0
        self._programs: OrderedDict[str, Program] = OrderedDict()

    def put(self, program: Program) -> None:
        """Keep a program at hand."""
        if program.hash in self._programs:
            self._programs.move_to_end(program.hash)
            return
        self._programs[program.hash] = program
        self._size += len(program.content)
        while self._size > self._limit and len(self._programs) > 1:
            _, dropped = self._programs.popitem(last=False)
            self._size -= len(dropped.content)

    async def get(self, hash_: str) -> Program:
        """The program of this hash. Raises StoreError if the store has lost it."""
        found = self._programs.get(hash_)
        if found is None:
            row = (await self._store.programs([hash_])).get(hash_)
            if row is None:
                raise StoreError(
                    f"program {hash_[:12]}… of a live task is missing from the store",
                    next_step="restore the store from a backup",
                )
            found = Program(row.kind, row.content)
        self.put(found)
        return found
