"""TaskOrder: everything that a submission says about one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast
from uuid import uuid4

from pydantic import ValidationError

from qpu_executor.client.problems import refusal_of
from qpu_executor.errors import CallerError, RequestRefused
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.stopping import StopRule, read_stop_rule
from qpu_executor.model.timing import Dependency
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.wire.tasks import DependencyIn, NeedsIn, StopWhen, TaskRequest


@dataclass(frozen=True)
class TaskOrder:
    """One task to be submitted.

    `priority`: within the job class, higher is sooner. `seed`: drawn by the
    manager if None. `key`: the idempotency key; the same key with the same body
    names the same task (one is made per submission if None). `key_origin`:
    "engine" where a workflow engine derived the key. `session`: the client's own
    if None. `held`: kept back until released.

    `begin_at`: not before (with a time zone). `time_limit_s`: from the first chunk; then
    the task fails. `depends_on`: own tasks that end first; a bare id has to be
    COMPLETED. `on_recalibration`: what a calibration means for the shots before it.
    `max_calibration_age_s`: chunks end at most this long after a calibration.
    `min_quality`: least quality that the QPU has to have reported. `deadline_at`: when
    it is wanted. `shot_s`: expected seconds a shot; the QPU's rate if None. `path_s`:
    expected seconds of work, classical and quantum, from it to the end of its workflow.
    `stop_when`: when fewer shots are enough (a mapping as in `model/stopping.py`).

    `device`: any QPU that is this device, by name. `require`: what the QPU has to have:
    `min_qubits`, `dimensions`, `channels` (ids), `min_sequence_s`, `min_shot_rate_hz`,
    `emulated` (False: hardware only).
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
    begin_at: datetime | None = None
    time_limit_s: float | None = None
    depends_on: tuple[int | Dependency, ...] = ()
    on_recalibration: OnRecalibration | Literal["continue", "restart", "fail"] = "continue"
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    deadline_at: datetime | None = None
    shot_s: float | None = None
    stop_when: StopRule | Mapping[str, Any] | None = None
    device: str | None = None
    require: Mapping[str, Any] | None = None
    path_s: float | None = None


def order_of(program: Program | Any, shots: int, **options: Any) -> TaskOrder:
    """An order for whatever can become a program.

    Raises BuilderError or ProgramError for what can't; CallerError for unknown options.
    """
    known = set(TaskOrder.__dataclass_fields__)
    if unknown := sorted(set(options) - known):
        raise CallerError(
            f"submit() doesn't know {', '.join(map(repr, unknown))}",
            expected=", ".join(sorted(known - {"program", "shots"})),
        )
    return TaskOrder(to_program(program), shots, **options)


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
    rule = None
    if order.stop_when is not None:
        rule = read_stop_rule(order.stop_when, order.shots).values()
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
            begin_at=order.begin_at,
            time_limit_s=order.time_limit_s,
            depends_on=[_dependency(one) for one in order.depends_on],
            on_recalibration=cast(OnRecalibration, order.on_recalibration),
            max_calibration_age_s=order.max_calibration_age_s,
            min_quality=order.min_quality,
            deadline_at=order.deadline_at,
            shot_s=order.shot_s,
            stop_when=None if rule is None else StopWhen(**rule),
            device=order.device,
            require=cast(NeedsIn | None, order.require),
            path_s=order.path_s,
        )
    except ValidationError as invalid:
        raise refusal_of(invalid, where) from None


def _dependency(one: int | Dependency) -> DependencyIn:
    if isinstance(one, Dependency):
        return DependencyIn(task=one.task_id, kind=one.kind)
    return DependencyIn(task=one)
