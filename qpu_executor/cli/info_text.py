"""What `qpu info` prints: a table of QPUs, one QPU in full, a device, the job classes. Pure.

What nobody knows is `-` in a table and `unknown` elsewhere, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from textwrap import fill
from typing import Any

from qpu_executor.cli.moments import on_the_clock, when
from qpu_executor.cli.tables import duration, table
from qpu_executor.wire.site import CalibrationOut, CanOut, JobClassOut, QpuOut

WIDTH = 94
_LABEL = 13
"""Columns before the values of a QPU in full."""

_ABILITIES = (
    ("partial_results", "gives the shots of a stopped chunk"),
    ("can_ask", "can be asked about a chunk of an earlier manager"),
    ("seeded", "gives equal counts for equal seeds"),
    ("can_calibrate", "can be asked for a calibration"),
)


def qpu_table(qpus: Sequence[QpuOut], now: datetime) -> str:
    """All QPUs, one line each. `now`: the manager's, in the zone that is to be shown."""
    head = ["QPU", "STATE", "DEVICE", "BUSY", "WAITING", "SHOTS/S", "CALIBRATED", "WINDOW"]
    rows = [
        [
            qpu.name,
            qpu.state.value,
            _device(qpu),
            f"{qpu.capacity.max_slots - qpu.capacity.available_slots}/{qpu.capacity.max_slots}",
            str(qpu.pending_job_count),
            _rate(qpu) or "-",
            _calibrated(qpu.calibration),
            _window(qpu, now) or "-",
            qpu.status_reason or _kept(qpu, now) or "-",
        ]
        for qpu in qpus
    ]
    return table([*head, "REASON"], rows)


def qpu_text(qpu: QpuOut, classes: Sequence[JobClassOut], now: datetime) -> str:
    """One QPU in full, with the limits of the classes that may use it."""
    busy = qpu.capacity.max_slots - qpu.capacity.available_slots
    own = f", yours: {', '.join(map(str, qpu.running))}" if qpu.running else ""
    lines = [
        f"QPU {qpu.name}",
        _line("state", f"{qpu.state} ({qpu.status})" + _because(qpu)),
        _line("kind", qpu.kind),
        _line("device", f"{_device(qpu)}; see: qpu info {qpu.name} --device"),
        _line("busy", f"{busy} of {qpu.capacity.max_slots} chunks{own}"),
        _line("waiting", f"{qpu.pending_job_count} tasks (everybody's)"),
        _line("shots/s", _rate_in_words(qpu)),
        *_calibration_lines(qpu.calibration, now),
        _line("next window", _window_in_words(qpu, now)),
    ]
    if kept := _kept(qpu, now):
        lines.append(_line("kept warm", kept))
    lines += _ability_lines(qpu)
    allowed = [one for one in classes if one.name in qpu.job_classes]
    if allowed:
        lines += ["", class_table(allowed)]
    return "\n".join(lines)


def device_text(device: Mapping[str, Any]) -> str:
    """A device's limits, from its abstract representation."""
    facts = [
        ("dimensions", device.get("dimensions"), ""),
        ("atoms at most", device.get("max_atom_num"), ""),
        ("closest atoms", device.get("min_atom_distance"), " um"),
        ("farthest atom", device.get("max_radial_distance"), " um from the centre"),
        ("Rydberg level", device.get("rydberg_level"), ""),
        ("longest run", device.get("max_sequence_duration"), " ns"),
        ("most shots", device.get("max_runs"), " in one run"),
        ("layouts", len(device.get("pre_calibrated_layouts") or ()) or None, " calibrated"),
    ]
    lines = [f"device {device.get('name', 'unknown')}"]
    lines += [
        f"  {name:<15}{'no limit' if value is None else f'{value}{unit}'}"
        for name, value, unit in facts
    ]
    lines += ["", _channel_table([*device.get("channels", ()), *device.get("dmm_objects", ())])]
    return "\n".join(lines)


def class_table(classes: Iterable[JobClassOut]) -> str:
    """Job classes with their limits for one user."""
    head = ["CLASS", "PRIORITY", "CHUNK_S", "MAX_SHOTS", "QUEUED", "RUNNING", "QPU_S/DAY"]
    rows = [
        [
            one.name + ("*" if one.default else ""),
            str(one.priority),
            f"{one.chunk_s:g}",
            *(_limit(limit) for limit in (one.max_shots, one.max_queued, one.max_running)),
            _limit(one.qpu_s_per_day),
            (one.description or "-") if one.allowed else "(not for you)",
        ]
        for one in classes
    ]
    return table([*head, "DESCRIPTION"], rows)


def _limit(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


def _line(label: str, text: str) -> str:
    return fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _device(qpu: QpuOut) -> str:
    return qpu.device + (" (emulated)" if qpu.emulated else "")


def _because(qpu: QpuOut) -> str:
    return f": {qpu.status_reason}" if qpu.status_reason else ""


def _rate(qpu: QpuOut) -> str:
    """`~`: expected, not yet measured."""
    if qpu.shot_rate_hz is None:
        return ""
    return f"{'' if qpu.shot_rate_measured else '~'}{qpu.shot_rate_hz:.3g}"


def _rate_in_words(qpu: QpuOut) -> str:
    if qpu.shot_rate_hz is None:
        return "unknown: nothing has run yet"
    return f"{qpu.shot_rate_hz:.3g}, {'measured' if qpu.shot_rate_measured else 'expected'}"


def _calibrated(found: CalibrationOut | None) -> str:
    if found is None:
        return "-"
    if found.running:
        return "now"
    age = "unknown" if found.age_s is None else f"{duration(found.age_s)} ago"
    return f"{age}, overdue" if found.overdue else age


def _calibration_lines(found: CalibrationOut | None, now: datetime) -> list[str]:
    if found is None:
        return [_line("calibrated", "nobody calibrates it, or says so")]
    text = "it is being calibrated" if found.running else when(found.since, now)
    due = "" if found.due_at is None else f"; due {when(found.due_at, now)}"
    lines = [
        _line("calibrated", text + due + ("; overdue" if found.overdue else "")),
        _line("epoch", found.epoch or "unknown"),
    ]
    if found.quality is not None:
        lines.append(_line("quality", f"{found.quality:.4g}"))
    return lines


def _window(qpu: QpuOut, now: datetime) -> str:
    found = qpu.next_window
    if found is None:
        return ""
    if found.starts_at <= now:
        return f"{found.kind} until {on_the_clock(found.ends_at, now)}"
    return f"{found.kind} {on_the_clock(found.starts_at, now)}"


def _window_in_words(qpu: QpuOut, now: datetime) -> str:
    found = qpu.next_window
    if found is None:
        return "none is known"
    times = f"{when(found.starts_at, now)} to {when(found.ends_at, now)}"
    return f"{found.kind} {found.name}, {times}"


def _kept(qpu: QpuOut, now: datetime) -> str:
    return "" if qpu.kept_until is None else f"kept warm until {on_the_clock(qpu.kept_until, now)}"


def _ability_lines(qpu: QpuOut) -> list[str]:
    can = qpu.can
    if can is None:
        return []
    lines = [_line("programs", ", ".join(can.kinds)), _line("chunks", _chunks(qpu, can))]
    able = [words for name, words in _ABILITIES if getattr(can, name)]
    if able:
        lines.append(_line("it", "; ".join(able)))
    lines += [_line("can't", f"{name}: {why}") for name, why in sorted(qpu.limits.items())]
    return lines


def _chunks(qpu: QpuOut, can: CanOut) -> str:
    most = "no limit" if qpu.max_chunk_shots is None else str(qpu.max_chunk_shots)
    costs = [
        f"{words} {duration(cost_s)}"
        for words, cost_s in (
            ("setup", can.setup_s),
            ("another task", can.switch_s),
            ("another layout", can.layout_s),
        )
        if cost_s > 0
    ]
    shots = f"shots: {can.min_chunk_shots} to {most}"
    return f"{shots}; {', '.join(costs)}" if costs else shots


def _channel_table(channels: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [
            str(one.get("id", "-")),
            str(one.get("basis", "-")),
            str(one.get("addressing", "-")),
            *(_number(one.get(name)) for name in ("max_amp", "max_abs_detuning", "max_duration")),
        ]
        for one in channels
    ]
    return table(["CHANNEL", "BASIS", "ADDRESSING", "RAD/US", "DETUNING", "LONGEST_NS"], rows)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "-"
