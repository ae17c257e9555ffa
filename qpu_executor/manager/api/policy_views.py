"""From the core's views to the wire shapes of `why`, shares, estimates and windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta

from qpu_executor.manager.api.views import moment, optional_moment
from qpu_executor.manager.service.forecast import Span
from qpu_executor.manager.service.privacy import Sight
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.window_calendar import Listed
from qpu_executor.manager.store.records import UsageRow
from qpu_executor.model.states import WaitReason
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.explain import Waiting
from qpu_executor.scheduling.fair_share import ShareView
from qpu_executor.scheduling.lineup import Lineup
from qpu_executor.scheduling.why import Why
from qpu_executor.wire.policy import (
    AccountShareOut,
    AheadOut,
    ClassShareOut,
    PartOut,
    RangeOut,
    RangeS,
    SharesOut,
    WhyOut,
    WindowList,
    WindowOut,
)
from qpu_executor.wire.tasks import TaskOut


def why_out(
    task: TaskOut,
    found: Why | None,
    line: Lineup | None,
    spans: tuple[Span | None, Span | None],
    sight: Sight,
    now: Instant,
) -> WhyOut:
    """Where a task stands. `spans`: to its expected start and end. `sight`: the caller's."""
    waiting = None if found is None else found.waiting
    return WhyOut(
        task=task,
        reason=None if waiting is None else waiting.reason.value,
        detail=_detail(task, waiting, line),
        until=None if waiting is None else optional_moment(waiting.until),
        rank=None if line is None else line.waiting + 1,
        ahead=[] if line is None else _ahead_out(line, sight),
        ahead_total=0 if line is None else line.total,
        priority=[] if found is None else _parts(found),
        expected_start=_range_out(spans[0], now),
        expected_end=_range_out(spans[1], now),
        as_of=moment(now),
    )


def _detail(task: TaskOut, waiting: Waiting | None, line: Lineup | None) -> str:
    if waiting is None:
        return f"it is {task.state}" if task.state.final else "it runs"
    if waiting.detail:
        return waiting.detail
    if waiting.reason is WaitReason.JOB_HELD:
        return task.held_because or "it is held until it is released"
    if waiting.reason is WaitReason.RESOURCES:
        return "it is next in line; the QPU is busy"
    if waiting.reason is WaitReason.BEGIN_TIME and waiting.until is not None:
        return f"it may begin at {moment(waiting.until).isoformat()}"
    return "" if line is None else f"{line.total} tasks go before it"


def _ahead_out(line: Lineup, sight: Sight) -> list[AheadOut]:
    return [
        AheadOut(
            task=one.task_id if sight.names(one.owner) else None,
            owner=one.owner if sight.names(one.owner) else None,
            job_class=one.job_class,
            remaining_shots=one.remaining_shots,
            remaining_s=one.remaining_s,
            why_first=one.why_first,
        )
        for one in line.ahead
        if sight.lists(one.owner)
    ]


def _parts(found: Why) -> list[PartOut]:
    """What the task's place follows from, the weightiest first."""
    account, user = found.account, found.user
    parts = [
        PartOut(
            name="class",
            value=found.class_priority,
            meaning=f"priority of class {found.job_class!r}; higher goes first",
        ),
        PartOut(
            name="band",
            value=found.over,
            meaning="0: within its share; else how many of account and user are far above theirs",
        ),
        PartOut(
            name="account",
            value=round(account.ratio, 3),
            meaning=f"usage of account {account.account} over its share; 1 is its share",
        ),
        PartOut(
            name="user",
            value=round(user.ratio, 3),
            meaning="usage of the user over the share within the account",
        ),
        PartOut(
            name="work",
            # 0: it hasn't become ready yet, so nobody knows.
            value=round(found.work_s, 3) or None,
            meaning="QPU-seconds that it was expected to need when it became ready",
        ),
        PartOut(name="age", value=round(found.age_s, 1), meaning="seconds since it became ready"),
    ]
    if found.owed is not None:
        meaning = "this class goes first now: it is owed its minimum share"
        parts.insert(0, PartOut(name="owed", value=found.owed, meaning=meaning))
    return parts


def _range_out(span: Span | None, now: Instant) -> RangeOut | None:
    if span is None:
        return None
    at = moment(now)
    seconds = (span.earliest_s, span.likely_s, span.latest_s)
    earliest, likely, latest = (at + timedelta(seconds=one) for one in seconds)
    return RangeOut(earliest=earliest, likely=likely, latest=latest)


def range_s(span: Span | None) -> RangeS | None:
    """Seconds from now."""
    if span is None:
        return None
    return RangeS(
        earliest=round(span.earliest_s, 3),
        likely=round(span.likely_s, 3),
        latest=round(span.latest_s, 3),
    )


def shares_out(
    lines: Sequence[ShareView], usage: Iterable[UsageRow], policy: SitePolicy, sight: Sight
) -> SharesOut:
    """Shares and what was used of them, as far as the caller may know."""
    known = {one.account for one in lines if sight.knows_account(one.account)}
    above = {one.account: (one.parent, one.raised) for one in lines if one.user is None}
    by_class: dict[str, float] = {}
    for row in usage:
        by_class[row.job_class] = by_class.get(row.job_class, 0.0) + row.charged_s
    total_s = sum(by_class.values())
    return SharesOut(
        accounts=[
            AccountShareOut(
                account=one.account,
                user=one.user,
                share=one.share,
                usage_qpu_s=round(one.usage_s, 3),
                ratio=round(one.ratio, 4),
                band=int(one.user is not None and one.raised) + _raised(one.account, above),
            )
            for one in lines
            if one.account in known and (one.user in (None, sight.name) or sight.operator)
        ],
        classes=[
            ClassShareOut(
                name=one.name,
                min_share=one.min_share,
                used_share=by_class.get(one.name, 0.0) / total_s if total_s else None,
            )
            for one in policy.classes
        ],
        charging=asdict(policy.charging),
        half_life_s=policy.fair_share.half_life_s,
    )


def _raised(account: str | None, above: dict[str, tuple[str | None, bool]]) -> int:
    """How many of an account and those above it are raised."""
    count = 0
    while account is not None and account in above:
        account, raised = above[account]
        count += raised
    return count


def windows_out(found: Iterable[Listed], sight: Sight) -> WindowList:
    """All windows, in their order."""
    return WindowList(windows=[window_out(one, sight) for one in found])


def window_out(one: Listed, sight: Sight) -> WindowOut:
    """A window; whom it is for as far as the caller may know."""
    account, session = one.window.account, one.window.session_id
    return WindowOut(
        qpu=one.qpu,
        name=one.window.name,
        kind=one.window.kind.value,
        starts_at=moment(one.window.starts_at),
        ends_at=moment(one.window.ends_at),
        account=account if account and sight.knows_account(account) else None,
        session=session if session and sight.knows_session(session) else None,
        job_class=one.window.job_class,
        announced_by=one.announced_by,
    )
