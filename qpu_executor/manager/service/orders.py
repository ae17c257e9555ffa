"""What callers ask of the manager, and what it answers: plain frozen values.

The API turns JSON into these and these into JSON; the manager knows no HTTP.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.values import Instant
from qpu_executor.programs.program import Program, ProgramFacts


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that a caller wants. `program` None: `program_hash` names a stored one."""

    program: Program | None
    program_hash: str
    shots: int
    job_class: str | None = None
    qpu: str | None = None
    priority: int = 0
    seed: int | None = None
    name: str = ""
    session_id: str | None = None
    account: str | None = None
    held: bool = False
    key: str | None = None
    key_origin: str = "user"
    wishes: Wishes = NO_WISHES

    def body_hash(self) -> str:
        """Identity of the request under its key: everything but key, session, inline content.

        The session isn't part of it, so that a job that was requeued finds its tasks.
        """
        return replace(self, session_id=None).hash_in_session()

    def names(self, body_hash: str, session_id: str | None) -> bool:
        """True if a stored task is what this asks for. `session_id`: the one that it is in."""
        if body_hash == self.body_hash():
            return True
        # Before version 0007 of the store the session was part of it.
        there = replace(self, session_id=session_id)
        return body_hash in (self.hash_in_session(), there.hash_in_session())

    def hash_in_session(self) -> str:
        """The identity with the session, as it was once stored."""
        body = asdict(replace(self, wishes=NO_WISHES))
        for left_out in ("program", "key", "key_origin", "wishes"):
            del body[left_out]
        if self.wishes:
            body["wishes"] = self.wishes.values()
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A task that passed admission: its program, what a check found, where it can run.

    `layout`: of its register, where changing that takes one of the QPUs time.
    `session_ends_at`: when the allocation of its session ends.
    """

    order: NewTask
    program: Program
    facts: ProgramFacts | None
    job_class: str
    account: str
    qpus: tuple[str, ...]
    layout: str | None = None
    session_ends_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durable task. `created` false: its key named it already."""

    task: TaskRow
    created: bool


Answer = Accepted | QpuExecutorError
