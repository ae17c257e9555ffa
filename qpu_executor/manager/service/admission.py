"""May this task enter? A clear refusal now is better than a task that never runs.

Everything here happens before the task is saved, off the loop where it costs
time: the class and its limits, the QPUs that exist, and the rules of each
candidate's device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from qpu_executor.errors import ProgramError, ProgramRefused, RequestRefused, UnknownTask
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.auth.rights import OPEN, Rights
from qpu_executor.manager.service.compatibility import Rates, that_meet
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.orders import Admitted, NewTask
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.values import JobClass
from qpu_executor.nearest import did_you_mean
from qpu_executor.programs import vendor_programs
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.programs.vendor_programs import VENDOR_KINDS
from qpu_executor.qpus.checking import ProgramChecker

_LIMITS_OF_A_DEVICE = (
    "min_atom_distance",
    "max_radial_distance",
    "max_atom_num",
    "max_sequence_duration",
    "max_amp",
    "max_abs_detuning",
    "dimensions",
    "min_layout_traps",
    "max_layout_traps",
    "min_layout_filling",
    "max_layout_filling",
)
"""Rules that a sequence breaks by a number, which its device's specification bounds."""


class Admission:
    """Checks a wanted task against the site. Holds no state but the site's classes and rights."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        classes: Iterable[JobClass],
        default_class: str,
        checker: ProgramChecker,
        store: Store,
        rights: Rights = OPEN,
    ) -> None:
        self.classes = {one.name: one for one in classes}
        self.default_class = default_class
        self.rights = rights
        self._fleet = fleet
        self._checker = checker
        self._store = store

    def change_classes(
        self, classes: Iterable[JobClass], default_class: str, rights: Rights
    ) -> None:
        """The site's job classes are now these, and who may use them."""
        self.classes = {one.name: one for one in classes}
        self.default_class = default_class
        self.rights = rights

    async def admit(
        self,
        order: NewTask,
        caller: Caller,
        rate_hz: Rates,
        session: SessionRow | None = None,
    ) -> Admitted:
        """The task with what was found out about it. `rate_hz`: of a QPU, by its name.
        `session`: the one that the order names.

        Raises RequestRefused (class, QPU, limits, stopping rule), NotAllowed (class, account),
        ProgramRefused (a device's rule), ProgramError (can't be read) or UnknownTask (no
        such program).
        """
        job_class = self._job_class(order, session)
        if session is None or job_class.name != session.job_class:  # that was checked already
            self.rights.refuse_class(caller, job_class.name)
        account = self._account(order, caller, session)
        candidates = self._candidates(order, job_class, rate_hz)
        program = order.program or await self._stored_program(order.program_hash, caller)
        facts, qpus, refusals = None, [], {}
        for qpu in candidates:
            try:
                found = await self._check(program, order.shots, qpu)
            except ProgramError as refusal:
                refusals[qpu.name] = refusal
            else:
                facts = facts or found
                qpus.append(qpu.name)
        if facts is not None and order.wishes.stop_when is not None:
            order.wishes.stop_when.refuse_misfit(facts.atoms)
        if not qpus:
            raise _refusal_of_all(refusals)
        if job_class.device_of is not None and job_class.device_of not in qpus:
            await self._check_meant(program, order.shots, job_class, job_class.device_of)
        return Admitted(
            order=order,
            program=program,
            facts=facts,
            job_class=job_class.name,
            account=account,
            qpus=tuple(qpus),
            layout=self._layout(facts, qpus),
            session_ends_at=None if session is None else session.ends_at,
        )

    def _account(self, order: NewTask, caller: Caller, session: SessionRow | None) -> str:
        """The session's, which was checked when it was opened, or one that may be charged."""
        if session is not None and order.account in (None, session.account):
            return session.account
        return self.rights.account(caller, order.account)

    def _layout(self, facts: ProgramFacts | None, qpus: Iterable[str]) -> str | None:
        """Only where it matters: tasks of different layouts are kept apart in the queue."""
        specs = [self._fleet.get(name).spec() for name in qpus]
        matters = any(spec.layout_s > 0 or spec.group_tasks for spec in specs)
        return facts.layout if facts is not None and matters else None

    def job_class(self, name: str) -> JobClass:
        """The class of this name. Raises RequestRefused with the nearest one."""
        found = self.classes.get(name)
        if found is None:
            raise RequestRefused(
                f"there is no job class {name!r}{did_you_mean(name, self.classes)}",
                where="job_class",
                expected=f"one of {', '.join(self.classes)}",
                next_step="see `qpu info --classes`",
            )
        return found

    def _job_class(self, order: NewTask, session: SessionRow | None) -> JobClass:
        of_session = None if session is None else session.job_class
        name = order.job_class or of_session or self.default_class
        found = self.job_class(name)
        if found.max_shots is not None and order.shots > found.max_shots:
            raise RequestRefused(
                f"{order.shots} shots are more than job class {name!r} allows in one task",
                where="shots",
                expected=f"at most {found.max_shots}",
                next_step="submit several tasks, or use another class (`qpu info --classes`)",
            )
        return found

    def _candidates(self, order: NewTask, job_class: JobClass, rate_hz: Rates) -> list[Qpu]:
        """The QPUs that the class may use, the preferred ones first; or the one asked for."""
        names = [qpu.name for qpu in self._fleet] if job_class.qpus is None else job_class.qpus
        first = [name for name in names if name not in job_class.fallback]
        allowed = [self._fleet.get(name) for name in (*first, *job_class.fallback)]
        if order.qpu is None:
            return that_meet(order.wishes, allowed, rate_hz)
        asked = self._fleet.get(order.qpu)
        if asked not in allowed:
            raise RequestRefused(
                f"job class {job_class.name!r} may not use QPU {asked.name}",
                where="qpu",
                expected=f"one of {', '.join(qpu.name for qpu in allowed)}",
                next_step="use another class (`qpu info --classes`)",
            )
        return that_meet(order.wishes, [asked], rate_hz)

    async def _stored_program(self, program_hash: str, caller: Caller) -> Program:
        rows = await self._store.programs([program_hash])
        row = rows.get(program_hash)
        # A hash is not a permission: only its users may submit a program by hash.
        if row is None or caller.name not in await self._store.program_owners(program_hash):
            raise UnknownTask(
                f"no program {program_hash[:12]}… is stored for {caller.name}",
                where="program_hash",
                next_step="send the program itself",
            )
        return Program(row.kind, row.content)

    async def _check_meant(
        self, program: Program, shots: int, job_class: JobClass, qpu: str
    ) -> None:
        """What is developed elsewhere has to fit the QPU that it is meant for."""
        try:
            await self._check(program, shots, self._fleet.get(qpu))
        except ProgramError as refusal:
            raise ProgramRefused(
                f"it wouldn't run on QPU {qpu}, which class {job_class.name!r} develops for: "
                f"{refusal.message}",
                where=refusal.where,
                rule=getattr(refusal, "rule", None),
                expected=refusal.expected,
                next_step=_next_step(refusal, qpu),
            ) from None

    async def _check(self, program: Program, shots: int, qpu: Qpu) -> ProgramFacts | None:
        can = qpu.capabilities
        if not can.kinds:
            raise ProgramRefused(
                f"QPU {qpu.name} is down: {qpu.health.reason}",
                where="program",
                rule="kind",
                next_step="use another QPU (`qpu info`), or ask the site's operators",
            )
        if program.kind not in can.kinds:
            raise ProgramRefused(
                f"QPU {qpu.name} doesn't run programs of kind {program.kind!r}",
                where="program",
                rule="kind",
                expected=f"one of {', '.join(sorted(can.kinds))}",
            )
        if program.kind in VENDOR_KINDS:
            # Programs may be large, and nobody else knows their format.
            await asyncio.to_thread(vendor_programs.check, program, shots)
        if qpu.description.pulser_device is None:
            return None
        facts = await self._checker.check(program, qpu.description.pulser_device)
        refusal = qpu.adapter.refusal(facts, shots)
        if refusal is not None:
            raise refusal
        return facts


def _refusal_of_all(refusals: dict[str, ProgramError]) -> ProgramError:
    """One error for a program that no candidate takes: the only one, or all in one text."""
    if not refusals:
        return ProgramRefused("this site has no QPU", next_step="ask the site's operators")
    name, first = next(iter(refusals.items()))
    if len(refusals) == 1 or len({str(one) for one in refusals.values()}) == 1:
        first.next_step = _next_step(first, name)
        return first
    return ProgramRefused(
        "no QPU takes this program: " + " | ".join(f"{q}: {e}" for q, e in refusals.items()),
        rule=getattr(first, "rule", None),
        next_step="see `qpu info` for the devices",
    )


def _next_step(refusal: ProgramError, qpu: str) -> str | None:
    """What to do about it; where only a number is in the way: look up the device's limits."""
    if refusal.next_step or getattr(refusal, "rule", None) not in _LIMITS_OF_A_DEVICE:
        return refusal.next_step
    return f"build it within the limits of the device: qpu info {qpu} --device"
