"""How long shots and set-ups took in a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from qpu_executor.model.values import TaskSpec
from qpu_executor.simulation.recording import Measured

_DEFAULT_SHOT_S = 1.0


@dataclass(slots=True)
class _Machine:
    """Set-ups by what had to be done: nothing, another task, another layout."""

    same: list[float] = field(default_factory=list)
    switched: list[float] = field(default_factory=list)
    laid_out: list[float] = field(default_factory=list)
    last_task: int | None = None
    layout: str | None = None


class Measuring:
    """Takes the chunks of a recording in the order of their ends."""

    def __init__(self) -> None:
        self._machines: dict[str, _Machine] = {}
        self._shots: dict[int, dict[str, tuple[int, float]]] = {}

    def chunk(
        self, qpu: str, task: TaskSpec, *, shots: int, device_s: float, setup_s: float
    ) -> None:
        """A chunk that gave `shots` shots in `device_s` seconds after `setup_s` seconds."""
        took = self._shots.setdefault(task.task_id, {})
        before = took.get(qpu, (0, 0.0))
        took[qpu] = (before[0] + shots, before[1] + device_s)
        machine = self._machines.setdefault(qpu, _Machine())
        if task.layout is not None and task.layout != machine.layout:
            machine.laid_out.append(setup_s)
        elif task.task_id != machine.last_task:
            machine.switched.append(setup_s)
        else:
            machine.same.append(setup_s)
        machine.last_task, machine.layout = task.task_id, task.layout or machine.layout

    def of_task(self, task_id: int) -> Mapping[str, float]:
        """Seconds that a task's shots took, by QPU."""
        return {
            qpu: device_s / shots
            for qpu, (shots, device_s) in self._shots.get(task_id, {}).items()
            if shots and device_s > 0
        }

    def of_qpu(self, name: str) -> Measured:
        """Means of a QPU. What was never seen takes no time of its own."""
        found = [took[name] for took in self._shots.values() if name in took]
        machine = self._machines.get(name, _Machine())
        same_s = _mean(machine.same)
        switched_s = max(same_s, _mean(machine.switched or machine.same))
        laid_out_s = _mean(machine.laid_out) if machine.laid_out else switched_s
        if not machine.switched:
            # Every change of task was one of layout: what it cost is told as one.
            return Measured(_shot_s(found), same_s, 0.0, max(0.0, laid_out_s - same_s))
        setup_s = same_s if machine.same else 0.0
        return Measured(
            _shot_s(found), setup_s, switched_s - setup_s, max(0.0, laid_out_s - switched_s)
        )

    def mean_shot_s(self) -> float:
        """Mean over all shots; a second where none was taken."""
        found = [one for took in self._shots.values() for one in took.values()]
        return _shot_s(found) or _DEFAULT_SHOT_S


def _shot_s(took: list[tuple[int, float]]) -> float | None:
    shots, device_s = sum(one[0] for one in took), sum(one[1] for one in took)
    return device_s / shots if shots and device_s > 0 else None


def _mean(values: list[float]) -> float:
    return fmean(values) if values else 0.0
