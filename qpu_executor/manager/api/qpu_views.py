"""A QPU as users see it: from adapter, core and calendar to one wire shape. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qpu_executor.manager.api.policy_views import window_out
from qpu_executor.manager.api.views import moment, optional_moment
from qpu_executor.manager.service.fleet import Qpu
from qpu_executor.manager.service.privacy import Sight
from qpu_executor.manager.service.window_calendar import Listed
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass
from qpu_executor.qpus.base import Capabilities
from qpu_executor.scheduling.explain import QpuView
from qpu_executor.wire.site import CalibrationOut, CanOut, CapacityOut, QpuOut

STATUS = {
    QpuState.UP: "online",
    QpuState.DRAINING: "paused",
    QpuState.DOWN: "offline",
}
"""QRMI's words for the states."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all QPUs of one answer.

    `own_tasks`: ids of the live tasks that are named: the caller's, to operators all.
    `classes`: the most urgent first. `windows`: the soonest first.
    """

    now: Instant
    own_tasks: frozenset[int]
    classes: tuple[JobClass, ...]
    windows: tuple[Listed, ...]
    sight: Sight


def qpu_fields(qpu: Qpu, view: QpuView | None, around: Surroundings) -> dict[str, object]:
    """The fields of a QPU, the first of them in QRMI's words. `view` None: not registered."""
    running = view.running if view else ()
    hold = view.hold if view else None
    state, reason = qpu.health.state, qpu.health.reason
    if view is not None and view.drained is not None and state is not QpuState.DOWN:
        state, reason = QpuState.DRAINING, view.drained
    can = qpu.capabilities
    return {
        "name": qpu.name,
        "kind": qpu.kind,
        "status": STATUS[state],
        "status_reason": reason or None,
        "healthy": qpu.health.state is not QpuState.DOWN,
        "busy": len(running) >= can.slots,
        "capacity": CapacityOut(
            available_slots=max(0, can.slots - len(running)), max_slots=can.slots
        ),
        "pending_job_count": view.waiting if view else 0,
        "state": state,
        "device": qpu.description.device_name,
        "emulated": can.emulated,
        "max_chunk_shots": can.max_chunk_shots,
        "shot_rate_hz": view.rate_hz if view else can.shot_rate_hz,
        "shot_rate_measured": view.rate_measured if view else False,
        "running": [task_id for task_id in running if task_id in around.own_tasks],
        "kept_until": None if hold is None else moment(hold.ends_at()),
        "epoch": None if qpu.health.calibration is None else qpu.health.calibration.epoch,
        "calibration": _calibration(qpu, view, around.now),
        "next_window": _next_window(qpu.name, around),
        "job_classes": _allowed(qpu.name, around.classes),
        "can": _can(can),
        "limits": dict(can.limits),
    }


def qpu_out(qpu: Qpu, view: QpuView | None, around: Surroundings) -> QpuOut:
    """A QPU."""
    return QpuOut.model_validate(qpu_fields(qpu, view, around))


def _calibration(qpu: Qpu, view: QpuView | None, now: Instant) -> CalibrationOut | None:
    """What the core goes by; None where nobody calibrates it and it reports nothing."""
    said = qpu.health.calibration
    if view is None or (said is None and qpu.spec().calibration is None):
        return None
    known = view.calibration
    since = known.ended_at
    return CalibrationOut(
        epoch=known.epoch,
        since=optional_moment(since),
        age_s=None if since is None else max(0.0, (now - since) / MICROSECONDS),
        due_at=optional_moment(known.due_at),
        running=known.running,
        overdue=known.overdue,
        quality=known.quality,
    )


def _next_window(name: str, around: Surroundings) -> object:
    return next((window_out(one, around.sight) for one in around.windows if one.qpu == name), None)


def _allowed(name: str, classes: Iterable[JobClass]) -> list[str]:
    """The classes whose tasks may come here."""
    return [
        one.name for one in classes if one.qpus is None or name in one.qpus or name in one.fallback
    ]


def _can(can: Capabilities) -> CanOut:
    return CanOut(
        kinds=sorted(can.kinds),
        min_chunk_shots=can.min_chunk_shots,
        partial_results=can.partial_results,
        can_ask=can.can_ask,
        seeded=can.seeded,
        can_calibrate=can.can_calibrate,
        setup_s=can.setup_s,
        switch_s=can.switch_s,
        layout_s=can.layout_s,
    )
