"""Hypothesis strategies: random sites and tasks, for property tests of the core.

Needs hypothesis (the extra `test`).
"""

from __future__ import annotations

from hypothesis import strategies as st

from qpu_executor.model.states import (
    CalibrationStarter,
    DependencyKind,
    OnRecalibration,
    QpuState,
    WindowKind,
)
from qpu_executor.model.timing import (
    QUALITY,
    CalibrationPlan,
    Dependency,
    DriftBound,
    Instant,
    Timing,
    Window,
    after,
)
from qpu_executor.model.values import JobClass, QpuSpec, TaskSpec

QPU_NAMES = ("alpha", "beta", "gamma")
CLASS_NAMES = ("production", "test", "development")

qpu_states = st.sampled_from(
    (QpuState.UP, QpuState.UP, QpuState.UP, QpuState.DRAINING, QpuState.DOWN)
)


@st.composite
def classes(draw: st.DrawFn) -> tuple[JobClass, ...]:
    """The three classes, with priorities that may tie, chunk lengths from tiny to long, and
    any rights: to preempt, to a minimum share, to run several tasks of a user at once.
    """
    return tuple(
        JobClass(
            name,
            priority=draw(st.integers(0, 2)) * 10,
            chunk_s=draw(st.sampled_from((0.001, 1.0, 10.0, 100.0))),
            may_preempt=draw(st.booleans()),
            preemptible=draw(st.booleans()),
            min_share=draw(st.sampled_from((0.0, 0.0, 0.1, 0.3))),
            max_running=draw(st.sampled_from((None, None, 1, 2))),
        )
        for name in CLASS_NAMES
    )


@st.composite
def qpu_specs(draw: st.DrawFn, name: str) -> QpuSpec:
    """A QPU with one to three slots; its rate may be unknown."""
    minimum = draw(st.sampled_from((1, 1, 5, 20)))
    room = draw(st.sampled_from((None, 0, 1, 30)))
    return QpuSpec(
        name,
        slots=draw(st.integers(1, 3)),
        min_chunk_shots=minimum,
        max_chunk_shots=None if room is None else minimum + room,
        shot_rate_hz=draw(st.sampled_from((None, 0.25, 5.0))),
        state=draw(qpu_states),
    )


@st.composite
def task_specs(draw: st.DrawFn, task_id: int, submitted_at: int) -> TaskSpec:
    """A task of one of few owners, so that buckets hold several tasks."""
    qpus = draw(st.permutations(QPU_NAMES))
    shots = draw(st.sampled_from((1, 2, 7, 30, 100)))
    return TaskSpec(
        task_id=task_id,
        owner=draw(st.sampled_from(("ada", "bob"))),
        account=draw(st.sampled_from(("physics", "chemistry"))),
        job_class=draw(st.sampled_from((*CLASS_NAMES, "unheard-of"))),
        shots=shots,
        qpus=tuple(qpus[: draw(st.integers(1, 3))]),
        submitted_at=submitted_at,
        priority=draw(st.integers(-1, 1)),
        divisible=draw(st.booleans()),
        held=draw(st.sampled_from((False, False, False, True))),
        min_shots=draw(st.sampled_from((None, None, 1, max(1, shots // 3), shots))),
    )


@st.composite
def calibration_plans(draw: st.DrawFn) -> CalibrationPlan | None:
    """No plan, or one with a period from minutes to hours, by any starter."""
    if draw(st.integers(0, 3)) == 0:
        return None
    return CalibrationPlan(
        period_s=draw(st.sampled_from((None, 300.0, 3600.0))),
        length_s=60.0,
        starter=draw(st.sampled_from(tuple(CalibrationStarter))),
        drift=draw(st.sampled_from((None, DriftBound(QUALITY, at_least=0.5)))),
        grace_s=120.0,
    )


@st.composite
def windows(draw: st.DrawFn, now: Instant) -> tuple[Window, ...]:
    """Up to three windows that are on, soon, or later; some for the people of `task_specs`."""
    found = []
    for n in range(draw(st.integers(0, 3))):
        starts_at = after(now, draw(st.sampled_from((-60.0, 0.0, 30.0, 200.0, 1000.0))))
        kind = draw(st.sampled_from(tuple(WindowKind)))
        whom = draw(st.sampled_from(("account", "session_id", "job_class", "nobody")))
        names = {"account": "physics", "session_id": "s-1", "job_class": "production"}
        for_whom = {whom: names[whom]} if whom in names else {"account": "nobody"}
        ends_at = after(starts_at, draw(st.sampled_from((61.0, 300.0, 2000.0))))
        reserved = for_whom if kind is WindowKind.RESERVATION else {}
        found.append(Window(f"w{n}", kind, starts_at, ends_at, **reserved))
    return tuple(found)


@st.composite
def timings(draw: st.DrawFn, task_id: int, now: Instant) -> Timing | None:
    """No wishes about time, or one or two of them."""
    wishes: dict[str, object] = {
        "begin_at": after(now, draw(st.sampled_from((-1.0, 50.0, 700.0)))),
        "time_limit_s": draw(st.sampled_from((5.0, 100.0, 5000.0))),
        "depends_on": tuple(
            Dependency(other, draw(st.sampled_from(tuple(DependencyKind))))
            for other in draw(st.sets(st.integers(1, max(1, task_id - 1)), max_size=2))
            if other < task_id
        ),
        "on_recalibration": draw(st.sampled_from(tuple(OnRecalibration))),
        "max_calibration_age_s": draw(st.sampled_from((600.0, 5000.0))),
        "min_quality": draw(st.sampled_from((0.1, 0.6))),
        "session_ends_at": after(now, draw(st.sampled_from((20.0, 500.0, 4000.0)))),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(wishes)), max_size=2))
    return Timing(**{name: wishes[name] for name in chosen}) if chosen else None  # type: ignore[arg-type]
