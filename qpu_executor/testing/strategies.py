"""Hypothesis strategies: random sites and tasks, for property tests of the core.

Needs hypothesis (the extra `test`).
"""

from __future__ import annotations

from hypothesis import strategies as st

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import JobClass, QpuSpec, TaskSpec

QPU_NAMES = ("alpha", "beta", "gamma")
CLASS_NAMES = ("production", "test", "development")

qpu_states = st.sampled_from(
    (QpuState.UP, QpuState.UP, QpuState.UP, QpuState.DRAINING, QpuState.DOWN)
)


@st.composite
def classes(draw: st.DrawFn) -> tuple[JobClass, ...]:
    """The three classes, with priorities that may tie and chunk lengths from tiny to long."""
    return tuple(
        JobClass(
            name,
            priority=draw(st.integers(0, 2)) * 10,
            chunk_s=draw(st.sampled_from((0.001, 1.0, 10.0, 100.0))),
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
    return TaskSpec(
        task_id=task_id,
        owner=draw(st.sampled_from(("ada", "bob"))),
        account=draw(st.sampled_from(("physics", "chemistry"))),
        job_class=draw(st.sampled_from((*CLASS_NAMES, "unheard-of"))),
        shots=draw(st.sampled_from((1, 2, 7, 30, 100))),
        qpus=tuple(qpus[: draw(st.integers(1, 3))]),
        submitted_at=submitted_at,
        priority=draw(st.integers(-1, 1)),
        divisible=draw(st.booleans()),
        held=draw(st.sampled_from((False, False, False, True))),
    )
