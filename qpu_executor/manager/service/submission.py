"""From an admitted task to a saved one: keys, generations, rows.

A key, scoped to its caller, names one task for as long as its row exists. It
adopts the task while that is HELD, QUEUED, RUNNING or COMPLETED; after FAILED
or CANCELLED it starts a new generation. A key that an engine derived adopts
whatever program was stored first (a builder that runs again may build another
one); a user's own key refuses another body. The session is no part of that: a run
that is started again has another one, and asks for the same task.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime

from qpu_executor.errors import KeyConflict, TaskExpired
from qpu_executor.manager.service.orders import Accepted, Admitted, NewTask
from qpu_executor.manager.store.records import ProgramRow, TaskRow
from qpu_executor.model.sessions import SessionHints
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import MICROSECONDS, Instant, TaskSpec

ADOPTED_STATES = frozenset(
    {TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING, TaskState.COMPLETED}
)


def adopted(order: NewTask, found: TaskRow | None) -> Accepted | None:
    """The task that the order's key names already, or None if a new one is due.

    `found`: the newest generation of the key. Raises KeyConflict, and TaskExpired for a task
    that is COMPLETED and whose result is gone: it is not run again unasked.
    """
    if found is None or found.state not in ADOPTED_STATES or found.cancel_asked:
        return None
    if found.expired_at is not None:
        raise expired(found, where="Idempotency-Key")
    if order.key_origin == "user" and not order.names(found.body_hash, found.session_id):
        raise KeyConflict(
            f"the key {order.key!r} names task {found.id}, which was asked for differently",
            where="Idempotency-Key",
            next_step="use a new key for a new task",
        )
    return Accepted(found, created=False)


def expired(row: TaskRow, where: str) -> TaskExpired:
    """What is to be said of a task that has expired."""
    assert row.expired_at is not None
    ended, gone = (
        datetime.fromtimestamp((at or 0) / MICROSECONDS, tz=UTC)
        for at in (row.ended_at, row.expired_at)
    )
    return TaskExpired(
        f"task {row.id} was {row.state} on {ended:%Y-%m-%d}, and expired at "
        f"{gone:%Y-%m-%dT%H:%M:%S}Z: its program and result are kept no longer",
        where=where,
        next_step="submit it under a new key to run it again; the operators may have an export",
    )


def row_of(one: Admitted, owner: str, task_id: int, generation: int, now: Instant) -> TaskRow:
    """The row of a new task. A task without a seed gets one here, for good."""
    order, wishes = one.order, one.order.wishes
    if one.session_ends_at is not None:
        wishes = replace(wishes, session_ends_at=one.session_ends_at)
    return TaskRow(
        id=task_id,
        owner=owner,
        account=one.account,
        session_id=order.session_id,
        name=order.name,
        state=TaskState.HELD if order.held else TaskState.QUEUED,
        job_class=one.job_class,
        priority=order.priority,
        shots=order.shots,
        shots_done=0,
        seed=secrets.randbits(63) if order.seed is None else order.seed,
        program_hash=one.program.hash,
        qpu_asked=order.qpu,
        qpus=one.qpus,
        divisible=True,
        key=order.key,
        key_origin=order.key_origin,
        generation=generation,
        body_hash=order.body_hash(),
        submitted_at=now,
        hold_asked=order.held,
        layout=one.layout,
        wishes=wishes,
    )


def program_row_of(one: Admitted, now: Instant) -> ProgramRow:
    """The row of an admitted program, with what its check found out."""
    facts = one.facts
    return ProgramRow(
        hash=one.program.hash,
        kind=one.program.kind,
        content=one.program.content,
        atoms=facts.atoms if facts else None,
        duration_ns=facts.duration_ns if facts else None,
        layout=facts.layout if facts else None,
        qubit_ids=facts.qubit_ids if facts else (),
        added_at=now,
    )


def spec_of(row: TaskRow, hints: SessionHints | None = None) -> TaskSpec:
    """A task as the scheduling core sees it. `hints`: what its session said of its work."""
    return TaskSpec(
        task_id=row.id,
        owner=row.owner,
        account=row.account,
        job_class=row.job_class,
        shots=row.shots,
        qpus=row.qpus,
        submitted_at=row.submitted_at,
        session_id=row.session_id,
        priority=row.priority,
        divisible=row.divisible,
        held=row.hold_asked,
        shot_s=row.wishes.shot_s,
        timing=row.wishes.timing() if row.wishes else None,
        layout=row.layout,
        deadline_at=row.wishes.deadline_at,
        min_shots=None if row.wishes.stop_when is None else row.wishes.stop_when.min_shots,
        path_s=row.wishes.path_s,
        session_hints=hints,
    )
