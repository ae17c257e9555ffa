"""Pictures of QPU time: what the QPUs did under each policy, and for which job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qpu_executor.simulation.palette import CLOSED, class_colours
from qpu_executor.simulation.record import Span
from qpu_executor.simulation.results import Lane, ScenarioResult
from qpu_executor.simulation.svg import (
    FAINT,
    GRID,
    legend,
    line,
    picture,
    rect,
    round_step,
    text,
)

WIDTH, LEFT, RIGHT = 1080.0, 170.0, 16.0
LONGEST_S = 24 * 3600.0
"""More than a day isn't drawn: its chunks would be thinner than a pixel."""

MOST_JOBS = 24
_UNITS = ((3 * 3600.0, 3600.0, "h"), (300.0, 60.0, "min"), (0.0, 1.0, "s"))
"""From so many seconds on, an axis is marked in units of so many seconds."""

_TOUCHING_S = 1e-3


def comparison(result: ScenarioResult) -> str:
    """One lane for each policy and QPU, over the same time."""
    rows = [
        (f"{lane.policy} {qpu}" if len(_qpus(lane)) > 1 else lane.policy, _of_qpu(lane, qpu))
        for lane in result.lanes
        for qpu in _qpus(lane)
    ]
    until_s = min(LONGEST_S, max(lane.makespan_s for lane in result.lanes))
    return _lanes(rows, until_s, class_colours(result), 22, f"QPU time by policy, {_seed(result)}")


def jobs(result: ScenarioResult, policy: str) -> str | None:
    """One lane for each job of a closed batch; None for other loads and for large batches."""
    lane = next((one for one in result.lanes if one.policy == policy), None)
    batch = result.scenario.batch
    if lane is None or batch is None or batch > MOST_JOBS:
        return None
    rows = [
        (f"job {job}", [span for span in lane.spans if span.job_id in (job, None)])
        for job in range(batch)
    ]
    until_s = min(LONGEST_S, lane.makespan_s)
    return _lanes(rows, until_s, class_colours(result), 14, f"Jobs under {policy}, {_seed(result)}")


def merged(spans: Iterable[Span]) -> list[Span]:
    """Chunks of a task, or times of a closed QPU, that follow each other at once, as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.qpu, one.begins_s)):
        last = found[-1] if found else None
        if (
            last is not None
            and (last.qpu, last.task_id, last.job_class) == (span.qpu, span.task_id, span.job_class)
            and span.begins_s - last.ends_s < _TOUCHING_S
        ):
            found[-1] = last._replace(ends_s=max(last.ends_s, span.ends_s))
        else:
            found.append(span)
    return found


def _lanes(
    rows: Sequence[tuple[str, list[Span]]],
    until_s: float,
    colours: dict[str, str],
    height: float,
    label: str,
) -> str:
    scale = (WIDTH - LEFT - RIGHT) / until_s
    bottom = 26 + len(rows) * (height + 6)
    seen = {span.job_class for _, spans in rows for span in spans if span.task_id is None}
    entries = [(colour, name) for name, colour in colours.items()]
    entries += [(colour, name) for name, colour in CLOSED.items() if name in seen]
    parts = legend(entries, LEFT, 14)
    parts += _marks(until_s, scale, bottom)
    for n, (name, spans) in enumerate(rows):
        top = 26 + n * (height + 6)
        parts.append(text(LEFT - 8, top + height / 2 + 4, name, anchor="end"))
        parts += [
            _bar(span, scale, until_s, top, height, colours)
            for span in merged(spans)
            if span.begins_s < until_s
        ]
    return picture(WIDTH, bottom + 24, parts, label)


def _bar(
    span: Span, scale: float, until_s: float, top: float, height: float, colours: dict[str, str]
) -> str:
    x, width = LEFT + span.begins_s * scale, (min(span.ends_s, until_s) - span.begins_s) * scale
    palette = CLOSED if span.task_id is None else colours
    colour = palette[span.job_class]
    what = span.job_class if span.job_id is None else f"job {span.job_id}, task {span.task_id}"
    unit_s, unit = _unit(until_s)
    title = f"{what}, {span.begins_s / unit_s:.2f} {unit}, {span.ends_s - span.begins_s:.0f} s"
    return rect(x, top, width, height, colour, title=title)


def _marks(until_s: float, scale: float, bottom: float) -> list[str]:
    unit_s, unit = _unit(until_s)
    step = round_step(until_s / unit_s, 12)
    parts, mark = [], 0.0
    while mark * unit_s <= until_s:
        x = LEFT + mark * unit_s * scale
        parts += [
            line(x, 22, x, bottom, GRID),
            text(x, bottom + 15, f"{mark:g} {unit}", anchor="middle", size=11, colour=FAINT),
        ]
        mark += step
    return parts


def _unit(until_s: float) -> tuple[float, str]:
    """Seconds in the unit of an axis up to `until_s`, and its name."""
    return next((unit_s, name) for least_s, unit_s, name in _UNITS if until_s >= least_s)


def _qpus(lane: Lane) -> list[str]:
    return sorted({span.qpu for span in lane.spans})


def _of_qpu(lane: Lane, qpu: str) -> list[Span]:
    return [span for span in lane.spans if span.qpu == qpu]


def _seed(result: ScenarioResult) -> str:
    return "recorded" if result.scenario.recording else f"seed {result.lanes_seed}"
