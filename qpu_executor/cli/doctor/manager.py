"""What was seen of the manager, and what is to be said of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.cli.doctor.finding import Finding, ok, one_line, warning, wrong
from qpu_executor.cli.doctor.sight import Sight
from qpu_executor.cli.tables import duration
from qpu_executor.model.states import QpuState

SKEW_S = 2.0
"""More than clocks that are kept in step differ."""

WRONG_SKEW_S = 60.0
"""Credentials of MUNGE live 300 s by default, at most; sessions end by the wall clock."""


def who_answers(sight: Sight) -> Finding:
    """Who the manager is, and whom it takes the caller for."""
    hello = sight.hello
    kind = "embedded manager" if hello.embedded else "manager"
    text = f"{kind} {hello.version} on {hello.host} at {sight.url}, you are {hello.caller}"
    return ok("manager", text)


def clocks(sight: Sight) -> Finding:
    """This host's clock against that of the manager's."""
    if sight.ahead_s is None:
        return ok("clock", "an older manager, which doesn't tell its host's clock")
    off_s = max(0.0, abs(sight.ahead_s) - sight.ahead_within_s)
    if off_s < SKEW_S:
        return ok("clock", f"this host and the manager's agree within {SKEW_S:g} s")
    side = "ahead of" if sight.ahead_s > 0 else "behind"
    text = f"this host's clock is {duration(off_s)} {side} the manager's"
    step = "chronyc makestep (or timedatectl set-ntp true), on the host that is off"
    return (wrong if off_s >= WRONG_SKEW_S else warning)("clock", text, step)


def own_clock(sight: Sight) -> Iterable[Finding]:
    """The manager's own clock, which is never set, against that of its host."""
    ahead_s = sight.hello.clock_ahead_s
    if abs(ahead_s) < WRONG_SKEW_S:
        return
    side = "ahead of" if ahead_s > 0 else "behind"
    text = f"the manager's own clock is {duration(abs(ahead_s))} {side} that of its host"
    step = "see docs/operations/clocks.md, or ask the site's operators"
    yield wrong("clock", text, step)


def qpus(sight: Sight) -> Iterable[Finding]:
    """Each QPU: whether it takes tasks, and until when its calibration is overdue."""
    if not sight.qpus:
        yield wrong("qpus", "the manager has no QPU", "ask the site's operators")
    for qpu in sight.qpus:
        about, name = "qpu", f"{qpu.name} ({qpu.device})"
        reason = one_line(qpu.status_reason or "no reason is given")
        see = f"qpu info {qpu.name}"
        if qpu.state is QpuState.DOWN:
            yield wrong(about, f"{name} is down: {reason}", f"{see}; or name another QPU")
        elif qpu.state is QpuState.DRAINING:
            yield warning(about, f"{name} takes nothing new: {reason}", see)
        elif qpu.calibration is not None and qpu.calibration.overdue:
            yield warning(about, f"{name} is up, its calibration is overdue", see)
        elif qpu.status_reason:
            yield warning(about, f"{name} is up: {reason}", see)
        else:
            yield ok(about, f"{name} is up, {qpu.pending_job_count} tasks wait")
