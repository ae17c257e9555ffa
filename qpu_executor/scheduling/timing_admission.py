"""Could any of a task's QPUs ever grant its wishes about time? Asked at admission. Pure."""

from __future__ import annotations

from qpu_executor.model.values import TaskSpec
from qpu_executor.scheduling.epochs import session_refusal, timing_refusal
from qpu_executor.scheduling.shot_times import planned_shot_s
from qpu_executor.scheduling.state import CoreState


def timing_refusal_everywhere(state: CoreState, task: TaskSpec) -> str | None:
    """Why none of the task's QPUs could, with the numbers; None if one could or none is known.

    Asked at the instant of its submission.
    """
    if task.timing is None:
        return None
    found: list[str] = []
    for name in task.qpus:
        qpu = state.qpus.get(name)
        if qpu is None or not qpu.registered:
            continue
        shot_s = planned_shot_s(task.shot_s, qpu.rate_hz)
        chunk_s = state.job_class(task.job_class).chunk_s
        why = timing_refusal(
            task.timing,
            task.shots,
            shot_s,
            divisible=task.divisible,
            chunk_s=chunk_s,
            qpu=qpu.spec,
        )
        ends_at = task.timing.session_ends_at
        if why is None and ends_at is not None:
            # A task that isn't to begin yet has only what is left from then on.
            now = max(task.submitted_at, task.timing.begin_at or 0)
            why = session_refusal(ends_at, now, task.shots, shot_s, chunk_s=chunk_s, qpu=qpu.spec)
        if why is None:
            return None
        found.append(why)
    return "; ".join(found) or None
