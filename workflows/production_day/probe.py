"""Measures a QPU through a day: a pi pulse on one atom, of which every shot should read 1.

    qpu serve --site configs/production-day.yaml
    QPU_MANAGER=http://127.0.0.1:8082 python workflows/production_day/probe.py

Prints a line per probe as it comes in, and writes `production-day.csv` and, where
matplotlib is installed, `production-day.png`. Works with any QPU of a Pulser device.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from math import pi, sqrt
from pathlib import Path

import pulser

from qpu_executor.client import Client, Result, connect

BAR = 40


@dataclass(frozen=True)
class Point:
    """One probe: how many of its shots read 1, when it began, and in which epoch."""

    at: datetime
    epoch: str
    right: int
    shots: int

    @property
    def part(self) -> float:
        """Of right shots, 0 to 1."""
        return self.right / self.shots

    @property
    def error(self) -> float:
        """Standard error of `part` (Agresti and Coull's, which isn't 0 at the ends)."""
        part = (self.right + 2) / (self.shots + 4)
        return sqrt(part * (1 - part) / (self.shots + 4))


def pi_pulse() -> pulser.Sequence:
    """One atom and a resonant pulse of pi: amplitude 2 pi rad/us for 0.5 us."""
    register = pulser.Register({"q0": (0.0, 0.0)}).with_automatic_layout(pulser.AnalogDevice)
    sequence = pulser.Sequence(register, pulser.AnalogDevice)
    sequence.declare_channel("rydberg", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantPulse(500, 2 * pi, 0.0, 0.0), "rydberg")
    sequence.measure("ground-rydberg")
    return sequence


def probe(client: Client, *, hours: float, every_s: float, shots: int) -> Iterator[Point]:
    """The probes' results, in the order of their submission.

    All are submitted at once, each with the moment at which it may begin, so that the
    manager's clock keeps the time, whatever its scale. A probe that a calibration cuts is
    taken anew, so that it belongs to one epoch.
    """
    sequence, tasks = pi_pulse(), []
    wishes = {"on_recalibration": "restart"}
    for n in range(max(1, round(hours * 3600 / every_s))):
        if tasks:
            began = tasks[0].info.submitted_at
            wishes["begin_at"] = began + timedelta(seconds=n * every_s)
        tasks.append(client.submit(sequence, shots, name=f"probe {n}", **wishes))
    for task in tasks:
        yield point(task.result())


def point(result: Result) -> Point:
    """A probe's result as a point."""
    at = result.started_at or result.submitted_at
    epochs = [epoch or "unknown" for epoch in result.epochs]
    return Point(at, epochs[-1] if epochs else "unknown", result.counts["1"], result.shots)


def line(one: Point, before: Point | None) -> str:
    """A probe as a line with a bar; the first of an epoch names it."""
    new = before is None or before.epoch != one.epoch
    bar = "#" * round(one.part * BAR)
    return f"{one.at:%d %H:%M}  {one.part:6.1%}  {bar:<{BAR}}  {one.epoch if new else ''}".rstrip()


def write_csv(file: Path, points: Sequence[Point]) -> None:
    """All probes, a row each."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["at", "epoch", "right", "shots"])
        rows.writerows([one.at.isoformat(), one.epoch, one.right, one.shots] for one in points)


def draw(file: Path, points: Sequence[Point]) -> None:
    """The part of right shots over the day, with standard errors, a colour per epoch."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.dates import DateFormatter

    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    for epoch in dict.fromkeys(one.epoch for one in points):
        some = [one for one in points if one.epoch == epoch]
        axes.errorbar(
            [one.at for one in some],
            [one.part for one in some],
            yerr=[one.error for one in some],
            fmt="o-",
            markersize=3,
            linewidth=1,
        )
        axes.axvline(some[0].at, color="0.8", linewidth=1, zorder=0)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.set_xlabel("manager's clock (UTC)")
    axes.set_ylabel("shots that read 1, as they should")
    axes.set_title("A pi pulse through the day; a colour per calibration epoch")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=24.0, help="on the manager's clock")
    parser.add_argument("--every-s", type=float, default=900.0, help="from probe to probe")
    parser.add_argument("--shots", type=int, default=300, help="of one probe")
    parser.add_argument("--out", type=Path, default=Path(), help="directory for CSV and PNG")
    options = parser.parse_args(arguments)
    found: list[Point] = []
    with connect() as client:
        for one in probe(client, hours=options.hours, every_s=options.every_s, shots=options.shots):
            print(line(one, found[-1] if found else None), flush=True)
            found.append(one)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "production-day.csv", found)
    if find_spec("matplotlib") is not None:
        draw(options.out / "production-day.png", found)


if __name__ == "__main__":
    main()
