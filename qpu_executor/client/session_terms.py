"""SessionTerms: what a session says of its work when it is opened, and what it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal, TypeVar, cast

from pydantic import ValidationError

from qpu_executor.client.problems import refusal_of
from qpu_executor.model.sessions import SlurmJob, TaskFate, WorkShape
from qpu_executor.slurm import allocation_left_s, this_job
from qpu_executor.wire.sessions import KeepWarmRequest, SessionRequest, SlurmJobIn

Body = TypeVar("Body")

SessionKind = Literal["run", "slurm", "interactive"]
"""What a session is of: a workflow run, a Slurm job, a person."""


@dataclass(frozen=True)
class SessionTerms:
    """Everything may be left out.

    `ends_at`, `ends_in_s`: when the session's allocation ends (with a time zone, or in
    seconds from now, which needs no clock that agrees with the manager's). A task that
    can't end by then is refused, and none goes on beyond it.

    `shape`, `expected_tasks`, `think_s` (seconds between two tasks): hints that the site's
    policy may use.

    `job_class`: of its tasks that name none.
    `leased`: the client renews the session while it lives, and its tasks pause when nobody
    does; `lease_s`: after less time than the site says. `idle_s`, `lifetime_s`: it ends after
    so long without a task, and in any case. `on_close`, `on_lost`: what then becomes of its
    tasks, where the site's default isn't right: "finish", "hold" or "cancel". `slurm`: the
    job that it belongs to.

    `linger_s`: keep the QPU for so long after each task; `run_s`: keep others out from now
    on for so long. One of them at most, within the site's bounds, and charged. `qpu`: which
    one; None for the only one that the site lets be kept.
    """

    ends_at: datetime | None = None
    ends_in_s: float | None = None
    shape: WorkShape | Literal["qpu-heavy", "balanced", "classical-heavy"] | None = None
    expected_tasks: int | None = None
    think_s: float | None = None
    job_class: str | None = None
    linger_s: float | None = None
    run_s: float | None = None
    qpu: str | None = None
    leased: bool = False
    lease_s: float | None = None
    idle_s: float | None = None
    lifetime_s: float | None = None
    on_close: TaskFate | Literal["finish", "hold", "cancel"] | None = None
    on_lost: TaskFate | Literal["finish", "hold", "cancel"] | None = None
    slurm: SlurmJob | None = None

    def without_lease(self) -> SessionTerms:
        """The same for a manager that knows no leases."""
        nothing = SessionTerms()
        names = ("leased", "lease_s", "idle_s", "lifetime_s", "on_close", "on_lost", "slurm")
        return replace(self, **{name: getattr(nothing, name) for name in names})


NO_TERMS = SessionTerms()


def within_allocation(terms: SessionTerms | None = None) -> SessionTerms:
    """The terms, for the Slurm job of this process if it is in one.

    They end with its allocation unless they name an end. Raises ConfigError where that
    allocation is over.
    """
    found = terms or NO_TERMS
    if found.slurm is None:
        found = replace(found, slurm=this_job())
    if found.ends_at is not None or found.ends_in_s is not None:
        return found
    return replace(found, ends_in_s=allocation_left_s())


def session_request(
    terms: SessionTerms, name: str, key: str, account: str | None
) -> SessionRequest:
    """The terms on the wire. Raises RequestRefused for values that no manager takes."""
    wants = (terms.linger_s, terms.run_s) != (None, None)
    keep = keep_warm_request(terms.linger_s, terms.run_s, terms.qpu) if wants else None
    return _built(
        lambda: SessionRequest(
            name=name,
            key=key,
            account=account,
            ends_at=terms.ends_at,
            ends_in_s=terms.ends_in_s,
            shape=cast(WorkShape | None, terms.shape),
            expected_tasks=terms.expected_tasks,
            think_s=terms.think_s,
            job_class=terms.job_class,
            keep_warm=keep,
            leased=terms.leased,
            lease_s=terms.lease_s,
            idle_s=terms.idle_s,
            lifetime_s=terms.lifetime_s,
            on_close=cast(TaskFate | None, terms.on_close),
            on_lost=cast(TaskFate | None, terms.on_lost),
            slurm=None if terms.slurm is None else SlurmJobIn(**asdict(terms.slurm)),
        )
    )


def keep_warm_request(
    linger_s: float | None, run_s: float | None, qpu: str | None
) -> KeepWarmRequest:
    """A wish for a QPU on the wire. Raises RequestRefused for what isn't one."""
    return _built(lambda: KeepWarmRequest(linger_s=linger_s, run_s=run_s, qpu=qpu))


def _built(build: Callable[[], Body]) -> Body:
    try:
        return build()
    except ValidationError as invalid:
        raise refusal_of(invalid, "session") from None
