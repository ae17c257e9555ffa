"""The closed sets: states of tasks, chunks and QPUs, and why a task waits.

Text becomes one of these where it enters the product, and nowhere else.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task stands. Legal moves: `scheduling/transitions.py`."""

    HELD = "HELD"
    """Accepted, and kept back until its owner or an operator releases it."""
    QUEUED = "QUEUED"
    """Waits for a QPU (shots taken before it gave way are kept)."""
    RUNNING = "RUNNING"
    """One of its chunks is at a QPU."""
    COMPLETED = "COMPLETED"
    """All shots are counted, or enough of them by the task's stopping rule."""
    FAILED = "FAILED"
    """Ended without its shots; the task's error says who must act."""
    CANCELLED = "CANCELLED"
    """Ended because somebody asked for it."""

    @property
    def final(self) -> bool:
        """True for the three states that a task never leaves."""
        return self in FINAL_TASK_STATES


FINAL_TASK_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})


class ChunkState(StrEnum):
    """Where a chunk stands."""

    SENT = "SENT"
    """Saved, and on its way to the QPU; whether it arrived isn't known yet."""
    RUNNING = "RUNNING"
    """The QPU has accepted it."""
    UNKNOWN = "UNKNOWN"
    """The QPU doesn't answer; the chunk keeps its slot until that is resolved."""
    FINISHED = "FINISHED"
    """All of its shots were taken."""
    STOPPED = "STOPPED"
    """Ended early on request; partial counts are kept where the QPU gives them."""
    LOST = "LOST"
    """Its shots don't count (fault, refusal, or the QPU denies knowing it)."""

    @property
    def ended(self) -> bool:
        """True once the chunk holds no slot any more."""
        return self in ENDED_CHUNK_STATES


ENDED_CHUNK_STATES = frozenset({ChunkState.FINISHED, ChunkState.STOPPED, ChunkState.LOST})


class QpuState(StrEnum):
    """Whether a QPU takes chunks."""

    UP = "UP"
    """Takes chunks."""
    DRAINING = "DRAINING"
    """Finishes what runs, takes nothing new."""
    DOWN = "DOWN"
    """Doesn't work or doesn't answer."""


class WaitReason(StrEnum):
    """Why a task isn't running now. Slurm's words where Slurm has one."""

    PRIORITY = "Priority"
    RESOURCES = "Resources"
    BEGIN_TIME = "BeginTime"
    DEPENDENCY = "Dependency"
    JOB_HELD = "JobHeld"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CLASS_LIMIT = "ClassLimit"
    CALIBRATION = "Calibration"
    MAINTENANCE = "Maintenance"
    RESERVATION = "Reservation"
    QPU_DOWN = "QPUDown"
    QPU_DRAINING = "QPUDraining"
    SESSION_ENDING = "SessionEnding"
    NO_COMPATIBLE_QPU = "NoCompatibleQPU"


class OnRecalibration(StrEnum):
    """What a recalibration means for a task that has shots of the epoch before it."""

    CONTINUE = "continue"
    """They count; the result names every epoch."""
    RESTART = "restart"
    """They don't count (they stay on record); the task starts anew."""
    FAIL = "fail"
    """The task is FAILED."""


class CalibrationStarter(StrEnum):
    """Who starts a QPU's calibrations; whoever does reports their start and end."""

    MANAGER = "manager"
    """The manager asks the adapter once the QPU is idle."""
    OPERATOR = "operator"
    """An operator's routine does; the manager keeps the QPU free for it."""
    DEVICE = "device"
    """The device does by itself, and may report it late or never."""


class WindowKind(StrEnum):
    """What a window closes a QPU to."""

    MAINTENANCE = "maintenance"
    """Every task."""
    RESERVATION = "reservation"
    """Every task that it isn't for."""


class DependencyKind(StrEnum):
    """Which end of another task a dependency waits for (Slurm's words)."""

    AFTER_OK = "afterok"
    """COMPLETED; any other end fails the task that waits."""
    AFTER_ANY = "afterany"
    """Any end."""
