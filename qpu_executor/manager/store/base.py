"""The interface of a store. `tests/contract/test_store_contract.py` is its suite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.change_records import Change
from qpu_executor.manager.store.pruning import Prunable
from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    SessionTotals,
    Snapshot,
    TaskFilter,
    TaskRow,
    TokenRow,
    UsageRow,
)
from qpu_executor.model.values import Instant


class Store(Protocol):
    """Durable state of one manager. Writes go through `apply` alone."""

    @property
    def incarnation(self) -> int:
        """Number of this opening of the store; every write is fenced by it."""

    @property
    def surely_ours(self) -> bool:
        """False where so long was heard nothing that another manager may have the store.

        A device must hear nothing then, before another `apply` (of no changes) went in.
        """

    async def lost(self) -> StoreError:
        """Wait until another manager turns out to have the store; why this one is none."""

    async def stand_by(self, told: Callable[[str], None]) -> None:
        """Wait until no other manager has the store, and lock it; `open` is to follow.

        Calls `told` with who has it whenever that changes.
        """

    async def open(self) -> None:
        """Migrate, lock and fence. Raises StoreError if the store is newer, foreign or in use."""

    async def close(self) -> None:
        """Finish what was handed in, and let go. May be called twice."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply all changes durably in one transaction, or none.

        Raises ManagerBusy when it may work later (locked, disk full, gone), and
        StoreError when it won't (fenced by a newer incarnation, damaged).
        """

    async def load(self) -> Snapshot:
        """What the manager starts from."""

    async def task(self, task_id: int) -> TaskRow | None:
        """One task."""

    async def tasks(self, which: TaskFilter) -> list[TaskRow]:
        """A page of tasks in the order of their ids."""

    async def tasks_by_key(self, owner: str, keys: Collection[str]) -> dict[str, TaskRow]:
        """The newest generation of each key that names a task of this owner."""

    async def chunks(self, task_ids: Collection[int]) -> dict[int, list[ChunkRow]]:
        """All chunks of these tasks, in order."""

    async def programs(self, hashes: Collection[str]) -> dict[str, ProgramRow]:
        """Those of these programs that are stored."""

    async def program_owners(self, hash_: str) -> set[str]:
        """Owners of tasks that use a program (who may read it)."""

    async def session(self, session_id: str) -> SessionRow | None:
        """One session."""

    async def session_by_key(self, owner: str, key: str) -> SessionRow | None:
        """The session that this owner opened with this key."""

    async def sessions(self, owner: str | None) -> list[SessionRow]:
        """Sessions, newest first; None: everybody's."""

    async def session_totals(self, session_ids: Collection[str]) -> dict[str, SessionTotals]:
        """What each of these sessions has had, counted from the rows of tasks and chunks."""

    async def live_task_ids(self, session_id: str) -> list[int]:
        """Tasks of a session that haven't ended."""

    async def journal(
        self,
        after: int,
        *,
        owner: str | None = None,
        session_id: str | None = None,
        states_only: bool = False,
        limit: int = 1000,
    ) -> list[JournalRow]:
        """Journal rows with a number above `after`, in order. `states_only`: task state changes."""

    async def audit(self, before: int | None, since: Instant, limit: int) -> list[JournalRow]:
        """Rows of the audit log below a number (None: all), not before an instant; newest first."""

    async def expirable(self, before: Instant, after_id: int, limit: int) -> list[TaskRow]:
        """Tasks that ended before an instant and haven't expired, of no open session, by id."""

    async def old_journal(self, which: Prunable, after: int, limit: int) -> list[int]:
        """Numbers of journal rows that nothing needs any more, above a number, in order."""

    async def old_sessions(self, before: Instant, limit: int) -> list[str]:
        """Sessions that were closed before an instant and have no task left."""

    async def journal_rows(self, numbers: Collection[int]) -> list[JournalRow]:
        """Journal rows by number, in order."""

    async def prunable(self, which: Prunable) -> tuple[int, int]:
        """How many tasks and journal rows could be pruned now."""

    async def token(self, token_id: str) -> TokenRow | None:
        """One bearer token."""

    async def tokens(self) -> list[TokenRow]:
        """All bearer tokens, oldest first."""

    async def usage(self, since: Instant) -> list[UsageRow]:
        """What was charged since an instant, by user, class and minute; oldest first."""

    async def history(self, task_ids: Collection[int]) -> Mapping[int, list[JournalRow]]:
        """State changes of these tasks, in order."""
