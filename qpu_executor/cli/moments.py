"""Times as people type and read them: Slurm's formats in, the local clock out. Pure.

Read: `now+30minutes`, `14:30`, `2026-11-23`, `2026-11-23T08:00` for a moment, and
`90s`, `30` (minutes, as in Slurm), `5:00`, `1:30:00`, `1-12`, `1-12:30` for a time span.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from qpu_executor.cli.tables import duration
from qpu_executor.errors import ConfigError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COUNTED = re.compile(
    r"(\d+(?:\.\d+)?) *(s|m|h|d|w|sec|min|(?:second|minute|hour|day|week)s?)", re.IGNORECASE
)
_SPAN = re.compile(r"(?:(\d+)-)?(\d+)(?::([0-5]?\d))?(?::([0-5]?\d))?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")

_MOMENTS = "now+30minutes, 14:30, 2026-11-23 or 2026-11-23T08:00 (local time)"
_SPANS = "90s, 30min, 2h, or as in Slurm: minutes, M:SS, H:MM:SS, D-HH"


def read_moment(text: str, now: datetime, where: str) -> datetime:
    """A moment that somebody typed; a time of day alone is the next one.

    `now`: with its time zone, which is also that of what is typed. Raises ConfigError.
    """
    words = text.strip()
    if words.lower() == "now":
        return now
    if words.lower().startswith("now+"):
        rest = words[4:].strip()
        # Slurm counts seconds where no unit is named.
        span_s = float(rest) if rest.isdigit() else _counted_s(rest)
        if span_s is None:
            raise _no_moment(text, where)
        return _later(now, span_s, text, where)
    if clock := _CLOCK.fullmatch(words):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        found = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return found if found > now else found + timedelta(days=1)
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise _no_moment(text, where) from None
    if found.tzinfo is not None:
        return found
    # By the rules of the place, not by today's offset: summer time may lie between.
    return found.astimezone()


def read_span(text: str, where: str) -> float:
    """Seconds of a time span that somebody typed. Raises ConfigError."""
    words = text.strip()
    span_s = _counted_s(words)
    if span_s is None and (found := _SPAN.fullmatch(words)):
        days, *rest = (None if part is None else int(part) for part in found.groups())
        first, second, third = rest
        if days is not None:
            span_s = days * 86400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
        elif third is not None:
            span_s = (first or 0) * 3600 + (second or 0) * 60 + third
        else:
            span_s = (first or 0) * 60 + (second or 0)
    if span_s is None or span_s <= 0:
        raise ConfigError(f"{text!r} is no time span", where=where, expected=_SPANS)
    return float(span_s)


def when(moment: datetime | None, now: datetime) -> str:
    """`14:03:20 (in 3:20)`, `14:00:00 (0:40 ago)`; `unknown` for None.

    Both with their time zones; shown on the clock of `now`, with the date on another day.
    """
    if moment is None:
        return "unknown"
    distance_s = (moment - now).total_seconds()
    far = _distance(abs(distance_s))
    if far == "0:00":
        return f"{on_the_clock(moment, now)} (now)"
    said = f"in {far}" if distance_s > 0 else f"{far} ago"
    return f"{on_the_clock(moment, now)} ({said})"


def on_the_clock(moment: datetime, now: datetime) -> str:
    """The time of day on the clock of `now`, with the date if it isn't the same day."""
    local = moment.astimezone(now.tzinfo)
    same = local.date() == now.date()
    return local.strftime("%H:%M:%S" if same else "%Y-%m-%dT%H:%M:%S")


def span(seconds: float | None) -> str:
    """Seconds as a table shows them; `unknown` for None."""
    return "unknown" if seconds is None else duration(seconds)


def _distance(seconds: float) -> str:
    """As Slurm's TIME column: `3:20`, `1:02:03`, `2-00:00:00`; seconds as `0:07`."""
    whole = round(seconds)
    return f"0:{whole:02}" if whole < 60 else duration(whole)


def _counted_s(text: str) -> float | None:
    found = _COUNTED.fullmatch(text)
    return None if found is None else float(found[1]) * _UNITS_S[found[2][0].lower()]


def _later(now: datetime, span_s: float, text: str, where: str) -> datetime:
    try:
        return now + timedelta(seconds=span_s)
    except OverflowError:
        raise _no_moment(text, where) from None


def _no_moment(text: str, where: str) -> ConfigError:
    return ConfigError(f"{text!r} is no moment", where=where, expected=_MOMENTS)
