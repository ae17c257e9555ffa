"""Tasks, windows and wishes as a journal tells them: back to the values that the core is told.

A journal may be older (keys are missing: defaults) or newer (keys are unknown: ignored).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from qpu_executor.model.states import DependencyKind, OnRecalibration, WindowKind
from qpu_executor.model.timing import Dependency, Timing, Window
from qpu_executor.model.values import TaskSpec


def task_of(data: Mapping[str, Any]) -> TaskSpec:
    """The task of a `TaskSubmitted`."""
    found = _known(TaskSpec, data)
    found["qpus"] = tuple(found["qpus"])
    timing = found.get("timing")
    found["timing"] = None if timing is None else _timing_of(timing)
    return TaskSpec(**found)


def window_of(data: Mapping[str, Any]) -> Window:
    """One of the windows of a `WindowsChanged`."""
    found = _known(Window, data)
    return Window(**{**found, "kind": WindowKind(found["kind"])})


def _timing_of(data: Mapping[str, Any]) -> Timing:
    found = _known(Timing, data)
    found["depends_on"] = tuple(
        Dependency(int(one["task_id"]), DependencyKind(one["kind"]))
        for one in found.get("depends_on", ())
    )
    found["on_recalibration"] = OnRecalibration(found.get("on_recalibration", "continue"))
    return Timing(**found)


def _known(of: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(of)}
    return {key: value for key, value in data.items() if key in names}
