"""What `qpu why`, `prio`, `share` and `estimate` print, from the manager's answers. Pure.

What the manager doesn't know is printed as `unknown`, never as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from textwrap import fill

from qpu_executor.cli.moments import on_the_clock, span, when
from qpu_executor.cli.tables import table
from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.wire.policy import EstimateOut, PartOut, RangeOut, RangeS, SharesOut, WhyOut
from qpu_executor.wire.tasks import TaskOut

AHEAD_SHOWN = 8
"""Tasks ahead that `qpu why` lists, so that it fits a screen of 24 lines or little more."""

TEXT_WIDTH = 94
"""Columns of running text."""

REASONS: dict[str, str] = {
    WaitReason.PRIORITY: "others go before it",
    WaitReason.RESOURCES: "it is next in line, and the QPU is busy",
    WaitReason.BEGIN_TIME: "it is not to start before a given time",
    WaitReason.DEPENDENCY: "it waits for another task to end",
    WaitReason.JOB_HELD: "it is held",
    WaitReason.QUOTA_EXCEEDED: "the credits of its account are used up",
    WaitReason.CLASS_LIMIT: "a limit of its class is reached",
    WaitReason.CALIBRATION: "no QPU is calibrated as it needs, or one is being calibrated",
    WaitReason.MAINTENANCE: "maintenance is on, or too close for it to fit in before",
    WaitReason.RESERVATION: "its QPUs are reserved for others, or soon will be",
    WaitReason.QPU_DOWN: "all QPUs that can run it are down",
    WaitReason.QPU_DRAINING: "the QPUs that can run it take nothing new",
    WaitReason.SESSION_ENDING: "its session ends too soon",
    WaitReason.NO_COMPATIBLE_QPU: "no QPU of the site can run it",
}
"""Every reason code in words."""


def why_text(why: WhyOut, zone: tzinfo | None = None) -> str:
    """One screen about one task. `zone`: of the clock that is shown (None: this place's)."""
    task, now = why.task, why.as_of.astimezone(zone)
    lines = [f"task {task.id}  {task.name}".rstrip(), f"  state     {_state(task)}"]
    if task.state.final:
        return "\n".join(lines + _ended(task, now))
    lines += _running(why, now) if task.state is TaskState.RUNNING else _waiting(why, now)
    if task.stop_standing is not None:
        lines.append(f"  may stop  before all shots are taken: {task.stop_standing}")
    lines.append(f"  as of     {on_the_clock(why.as_of, now)}")
    if why.priority:
        rows = [[part.name, value(part), part.meaning] for part in why.priority]
        lines += ["", table(["PRIORITY", "VALUE", "MEANING"], rows)]
    if why.ahead:
        lines += ["", _ahead(why)]
    return "\n".join(lines)


def prio_text(found: Sequence[WhyOut], unlisted: int, zone: tzinfo | None = None) -> str:
    """Waiting tasks with their ranks and the parts of their priorities.

    `unlisted`: how many more wait than are in `found`. `zone`: as in `why_text()`.
    """
    names = list(dict.fromkeys(part.name for why in found for part in why.priority))
    rows = []
    for why in found:
        start, now = why.expected_start, why.as_of.astimezone(zone)
        parts = {part.name: value(part) for part in why.priority}
        rows.append(
            [
                str(why.task.id),
                why.task.name[:24] or "-",
                why.task.job_class,
                "-" if why.rank is None else str(why.rank),
                *(parts.get(name, "-") for name in names),
                "unknown" if start is None else when(start.likely, now),
                why.reason or "-",
            ]
        )
    first = ["TASK", "NAME", "CLASS", "RANK"]
    columns = [name.upper().replace(" ", "_") for name in names]
    columns = [name + "_PRIO" if name in first else name for name in columns]
    text = table([*first, *columns, "EXPECTED START", "REASON"], rows)
    return text + (f"\n… and {unlisted} more (--limit shows them)" if unlisted else "")


def shares_text(shares: SharesOut) -> str:
    """Accounts and users against their shares, classes, and what is charged."""
    accounts = [
        [
            one.account,
            one.user or "-",
            f"{one.share:g}",
            f"{one.usage_qpu_s:.1f}",
            "unknown" if one.ratio is None else f"{one.ratio:.2f}",
            str(one.band),
        ]
        for one in shares.accounts
    ]
    classes = [
        [
            one.name,
            f"{one.min_share:.0%}",
            "unknown" if one.used_share is None else f"{one.used_share:.1%}",
        ]
        for one in shares.classes
    ]
    charging = [[name, f"{factor:g}"] for name, factor in shares.charging.items()]
    half_life = f"usage halves every {span(shares.half_life_s)}"
    return "\n".join(
        [
            table(["ACCOUNT", "USER", "SHARE", "USED_QPU_S", "USED/SHARE", "BAND"], accounts),
            half_life,
            "",
            table(["CLASS", "MIN_SHARE", "USED"], classes),
            "",
            table(["CHARGED", "FACTOR"], charging),
        ]
    )


def estimate_text(found: EstimateOut, shots: int, now: datetime) -> str:
    """What a task would need and when it would be done. `now`: the manager's, on the clock
    that is shown.
    """
    lines = [f"estimate for {shots} shots"]
    if found.refusal is not None:
        lines.append(f"  refused   {found.refusal.detail}")
        if found.refusal.next_step:
            lines.append(f"  next      {found.refusal.next_step}")
    else:
        lines += [
            f"  QPUs      {', '.join(found.qpus) or 'none'}",
            f"  QPU time  {span(found.qpu_s)}",
            f"  wait      {_range_s(found.expected_wait_s)}",
            f"  done      {_done(found, now)}",
        ]
    remarks = [
        fill(line, TEXT_WIDTH, initial_indent="  ", subsequent_indent="    ")
        for line in found.explanation
    ]
    return "\n".join([*lines, *remarks])


def value(part: PartOut) -> str:
    """The value of a part of a priority."""
    if part.value is None:
        return "unknown"
    return f"{part.value:.6g}" if isinstance(part.value, int | float) else str(part.value)


# -- below: parts of `why` ------------------------------------------------------


def _state(task: TaskOut) -> str:
    shots = f"{task.shots_done} of {task.shots} shots"
    return f"{task.state}, {shots}, class {task.job_class}, account {task.account}"


def _waiting(why: WhyOut, now: datetime) -> list[str]:
    lines = []
    if why.reason is None:
        lines.append(f"  reason    {why.detail or 'unknown'}")
    else:
        words = _begin(why, now) or why.detail or REASONS.get(why.reason, "")
        lines.append(f"  reason    {why.reason}" + (f": {words}" if words else ""))
        if why.until is not None and why.reason != WaitReason.BEGIN_TIME:
            lines.append(f"  until     {when(why.until, now)} at the latest")
    if why.reason == WaitReason.JOB_HELD:
        lines.append(f"  next      qpu release {why.task.id}")
    if why.rank is None:
        lines.append("  rank      none: it has no place in line while this holds it")
    else:
        ahead = f"{why.ahead_total} ahead" if why.ahead_total else "next in line"
        lines.append(f"  rank      {why.rank} ({ahead})")
    lines.append(f"  start     {_range(why.expected_start, now)}")
    lines.append(f"  end       {_range(why.expected_end, now)}")
    return lines


def _begin(why: WhyOut, now: datetime) -> str:
    """The moment that a task waits for, on the clock that is shown; empty if it doesn't."""
    wishes = why.task.wishes
    if why.reason != WaitReason.BEGIN_TIME or wishes is None or wishes.begin_at is None:
        return ""
    return f"not before {when(wishes.begin_at, now)}, as was asked for"


def _running(why: WhyOut, now: datetime) -> list[str]:
    task = why.task
    lines = [f"  runs      on {task.qpu or 'a QPU'}: it waits for nothing"]
    if task.started_at is not None:
        lines.append(f"  started   {when(task.started_at, now)}")
    lines.append(f"  end       {_range(why.expected_end, now)}")
    return lines


def _ended(task: TaskOut, now: datetime) -> list[str]:
    lines = [f"  ended     {when(task.ended_at, now)}: it waits for nothing"]
    if task.started_at is not None:
        waited_s = (task.started_at - task.submitted_at).total_seconds()
        lines.append(f"  waited    {span(max(0.0, waited_s))} for its first chunk")
    if task.stopped_early:
        lines.append(f"  early     {task.stop_reason}; {task.shots_saved} shots saved")
    if task.error:
        lines.append(f"  error     {task.error}")
    verb = "result" if task.state is TaskState.COMPLETED else "show"
    return [*lines, f"  next      qpu {verb} {task.id}"]


def _ahead(why: WhyOut) -> str:
    shown = why.ahead[:AHEAD_SHOWN]
    rows = [
        [
            "-" if one.task is None else str(one.task),
            one.owner or "-",
            one.job_class,
            str(one.remaining_shots),
            span(one.remaining_s),
            one.why_first,
        ]
        for one in shown
    ]
    text = table(["AHEAD", "OWNER", "CLASS", "SHOTS LEFT", "TIME LEFT", "FIRST BECAUSE"], rows)
    rest = why.ahead_total - len(shown)
    return text + (f"\n… and {rest} more" if rest > 0 else "")


def _range(found: RangeOut | None, now: datetime) -> str:
    """`14:03:20 (in 3:20), between 14:02:00 and 14:10:00`."""
    if found is None:
        return "unknown"
    likely = when(found.likely, now)
    first, last = on_the_clock(found.earliest, now), on_the_clock(found.latest, now)
    return likely if first == last else f"{likely}, between {first} and {last}"


def _range_s(found: RangeS | None) -> str:
    if found is None:
        return "unknown"
    if found.earliest == found.latest:
        return span(found.likely)
    return f"{span(found.likely)}, between {span(found.earliest)} and {span(found.latest)}"


def _done(found: EstimateOut, now: datetime) -> str:
    """The likely end: known only where both the wait and the work are."""
    if found.expected_wait_s is None or found.qpu_s is None:
        return "unknown"
    ends_at = now + timedelta(seconds=found.expected_wait_s.likely + found.qpu_s)
    return f"{when(ends_at, now)} if nothing comes in between"
