"""Options of `qpu submit` about time, calibration and early stops, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from qpu_executor.cli.moments import read_moment, read_span
from qpu_executor.documents.problems import Problems
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.model.states import DependencyKind, OnRecalibration
from qpu_executor.model.stopping import LETTERS
from qpu_executor.model.timing import Dependency
from qpu_executor.model.values import MAX_TASK_ID

WHOLE = ("min_shots", "distinct", "seen")
"""Keys of a stopping rule that are whole numbers."""

BeginOption = Annotated[
    str | None,
    typer.Option("--begin", help="Not before: now+30min, 14:30, 2026-11-23T08:00."),
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option("--time-limit", "-t", help="Since its first chunk: 90s, 30 (minutes), 1:30:00."),
]
DependsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--depends-on", "-d", help="After these tasks: 12, afterok:12, afterany:12:13. Repeatable."
    ),
]
DeadlineOption = Annotated[
    str | None, typer.Option("--deadline", help="When it is wanted; a moment as in --begin.")
]
OnRecalibrationOption = Annotated[
    OnRecalibration | None,
    typer.Option("--on-recalibration", help="What a calibration means for the shots before it."),
]
MaxAgeOption = Annotated[
    str | None,
    typer.Option(
        "--max-calibration-age", help="Run at most so long after a calibration; as --time-limit."
    ),
]
QualityOption = Annotated[
    float | None,
    typer.Option("--min-quality", help="Least quality that the QPU has to have reported."),
]
ShotTimeOption = Annotated[
    float | None, typer.Option("--shot-time", help="Expected seconds a shot.")
]
PathTimeOption = Annotated[
    str | None,
    typer.Option(
        "--path-time", help="Expected work from it to the end of its workflow; as --time-limit."
    ),
]
StopOption = Annotated[
    str | None,
    typer.Option(
        "--stop-when",
        help="When fewer shots are enough: min_shots=100,stderr=0.05,ZZ=0.5 (observable), "
        "min_shots=100,distinct=5,seen=2, or a YAML or JSON file.",
    ),
]


def wishes(
    now: Callable[[], datetime],
    *,
    begin: str | None = None,
    time_limit: str | None = None,
    depends_on: list[str] | None = None,
    deadline: str | None = None,
    on_recalibration: OnRecalibration | None = None,
    max_calibration_age: str | None = None,
    min_quality: float | None = None,
    stop_when: str | None = None,
    shot_time: float | None = None,
    path_time: str | None = None,
) -> dict[str, Any]:
    """The fields of a TaskOrder that the options ask for. Raises ConfigError.

    `now`: asked for the manager's time where a moment may be relative to it.
    """
    found: dict[str, Any] = {
        "on_recalibration": on_recalibration,
        "min_quality": min_quality,
        "shot_s": shot_time,
    }
    if begin is not None:
        found["begin_at"] = read_moment(begin, now(), "--begin")
    if deadline is not None:
        found["deadline_at"] = read_moment(deadline, now(), "--deadline")
    if time_limit is not None:
        found["time_limit_s"] = read_span(time_limit, "--time-limit")
    if max_calibration_age is not None:
        found["max_calibration_age_s"] = read_span(max_calibration_age, "--max-calibration-age")
    if path_time is not None:
        found["path_s"] = read_span(path_time, "--path-time")
    if stop_when is not None:
        found["stop_when"] = read_stop_option(stop_when)
    if depends_on:
        found["depends_on"] = tuple(one for text in depends_on for one in _dependencies(text))
    return {name: wish for name, wish in found.items() if wish is not None}


def _dependencies(text: str) -> list[Dependency]:
    """`12`, `12:13`, `afterok:12`, `afterok:12:13,afterany:14`, as sbatch takes them."""
    found = []
    for part in text.split(","):
        first, *rest = part.strip().split(":")
        kind = DependencyKind.AFTER_OK
        if first.isalpha():
            if first not in set(DependencyKind):
                raise _no_dependency(text)
            kind = DependencyKind(first)
        else:
            rest = [first, *rest]
        if not rest or not all(_is_task_id(number) for number in rest):
            raise _no_dependency(text)
        found += [Dependency(int(number), kind) for number in rest]
    return found


def read_stop_option(text: str) -> dict[str, Any]:
    """The stopping rule of `--stop-when`: pairs, or the path of a file. Raises ConfigError.

    What the keys may say is checked where all stopping rules are.
    """
    if "=" not in text:
        problems = Problems(text)
        expected = "a mapping; or, in the option itself, key=number,key=number"
        found = parse_mapping(read_text(Path(text), "stopping rule"), problems, expected)
        problems.raise_if_any()
        return found
    rule: dict[str, Any] = {}
    observable: dict[str, float] = {}
    for part in text.split(","):
        name, _, given = (piece.strip() for piece in part.partition("="))
        into = observable if name and set(name) <= LETTERS else rule
        try:
            if name in into:
                raise ValueError(name)
            into[name] = int(given) if name in WHOLE else float(given)
        except ValueError:
            raise ConfigError(
                f"{part!r} is no key with a number, or comes twice",
                where="--stop-when",
                expected="min_shots=100,stderr=0.05,ZZ=0.5 or min_shots=100,distinct=5",
            ) from None
    return {**rule, **({"observable": observable} if observable else {})}


def _is_task_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= MAX_TASK_ID


def _no_dependency(text: str) -> ConfigError:
    return ConfigError(
        f"{text!r} names no task to wait for",
        where="--depends-on",
        expected="12, afterok:12, or afterany:12:13 (afterok: COMPLETED; afterany: any end)",
    )
