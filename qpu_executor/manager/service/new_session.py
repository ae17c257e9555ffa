"""What a caller wants of a session, and what renewing one has done."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.keeping_warm import KeepWarm
from qpu_executor.manager.service.session_rules import SessionRules
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.sessions import NO_HINTS, SessionHints, SlurmJob, TaskFate
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant

SLURM = "slurm"
"""The kind of a session that is a Slurm job's own: there is one for each incarnation."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that a caller wants. `key`: the open one of the same key is found again.

    `ends_at`: when its allocation ends; `ends_in_s`: or in how many seconds from now, which
    needs no clock that agrees with ours. `job_class`: of its tasks that name none.
    `keep_warm`: a hold that it asks for at once.
    `leased`: it is lost unless it is renewed; `lease_s`, `idle_s`, `lifetime_s`: less than
    the site's; `on_close`, `on_lost`: what then becomes of its tasks. `slurm`, `uid`: the job
    and the user that it belongs to.
    """

    name: str = ""
    kind: str = "run"
    account: str | None = None
    key: str | None = None
    ends_at: Instant | None = None
    ends_in_s: float | None = None
    hints: SessionHints = NO_HINTS
    job_class: str | None = None
    keep_warm: KeepWarm | None = field(default=None)
    leased: bool = False
    lease_s: float | None = None
    idle_s: float | None = None
    lifetime_s: float | None = None
    on_close: TaskFate | None = None
    on_lost: TaskFate | None = None
    slurm: SlurmJob | None = None
    uid: int | None = None

    def end(self, now: Instant) -> Instant | None:
        """When its allocation ends, if anybody knows."""
        in_s = None if self.ends_in_s is None else after(now, self.ends_in_s)
        return min((at for at in (self.ends_at, in_s) if at is not None), default=None)

    def row(self, owner: Caller, rules: SessionRules, now: Instant) -> SessionRow:
        """The session. Raises RequestRefused for more than the site's rules grant."""
        return SessionRow(
            id=uuid.uuid4().hex,
            owner=owner.name,
            account=self.account or owner.name,
            name=self.name,
            kind=self.kind,
            key=self.key,
            opened_at=now,
            ends_at=self.end(now),
            hints=self.hints,
            job_class=self.job_class,
            uid=owner.uid if self.uid is None else self.uid,
            slurm=self.slurm,
            lease_s=rules.granted_lease_s(self.leased, self.lease_s),
            idle_s=rules.granted_idle_s(self.idle_s),
            expires_at=after(now, rules.granted_lifetime_s(self.lifetime_s)),
            on_close=self.on_close,
            on_lost=self.on_lost,
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """A session that was renewed. `released`: its tasks that go on because it had been lost."""

    session: SessionRow
    was_lost: bool = False
    released: tuple[int, ...] = ()
