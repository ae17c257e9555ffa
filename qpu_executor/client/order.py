"""TaskOrder: everything that a submission says about one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from pydantic import ValidationError

from qpu_executor.errors import RequestRefused
from qpu_executor.programs.program import Program
from qpu_executor.wire.tasks import TaskRequest


@dataclass(frozen=True)
class TaskOrder:
    """One task to be submitted.

    `priority`: within the job class, higher is sooner. `seed`: drawn by the
    manager if None. `key`: the idempotency key; the same key with the same body
    names the same task (one is made per submission if None). `key_origin`:
    "engine" where a workflow engine derived the key. `session`: the client's own
    if None. `held`: kept back until released.
    """

    program: Program
    shots: int
    job_class: str | None = None
    qpu: str | None = None
    priority: int = 0
    seed: int | None = None
    name: str = ""
    key: str | None = None
    key_origin: Literal["user", "engine"] = "user"
    account: str | None = None
    session: str | None = None
    held: bool = False


def to_request(order: TaskOrder, session: str | None) -> TaskRequest:
    """The order on the wire, its program named by hash, with a key in any case.

    Raises RequestRefused for values that no manager takes (zero shots, say).
    """
    where = f"task {order.name!r}" if order.name else "task"
    if not isinstance(order.program, Program):
        raise RequestRefused(
            f"the program of an order is a {type(order.program).__name__}",
            where=where,
            expected="a Program",
            next_step="pass the sequence to client.submit(), or through programs.to_program()",
        )
    try:
        return TaskRequest(
            program_hash=order.program.hash,
            shots=order.shots,
            job_class=order.job_class,
            qpu=order.qpu,
            priority=order.priority,
            seed=order.seed,
            name=order.name,
            session=order.session if order.session is not None else session,
            account=order.account,
            held=order.held,
            key=order.key if order.key is not None else uuid4().hex,
            key_origin=order.key_origin,
        )
    except ValidationError as invalid:
        first = invalid.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RequestRefused(
            f"{field}={first['input']!r} is not possible",
            where=where,
            expected=first["msg"].removeprefix("Input should be "),
        ) from None
