"""Windows as a site writes them, and the instants that they mean.

An operator says "every Tuesday at 08:00 for two hours" on the wall clock of the
site's time zone; the scheduling core knows instants only. A window on a day
that a clock change shortens or lengthens starts at its wall-clock time and
lasts its real length. A wall-clock time that doesn't exist on its day (the
clock jumps over it) is taken as that much later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from qpu_executor.model.clock import Clock
from qpu_executor.model.events import Event, WindowsChanged
from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import MICROSECONDS, Instant, Window, after

HORIZON_S = 14 * 86_400.0
"""How far ahead recurring windows are known to the core."""

RENEW_S = 86_400.0
"""How often they are expanded anew."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A window in the site's words.

    Either one-off (`on`: its day) or recurring (`on` None): every day, or on the
    `weekdays` that are named (0 is Monday). `at`: wall-clock time at which it starts.
    Whom a reservation is for: as in `Window`.
    """

    name: str
    kind: WindowKind
    at: time
    length_s: float
    zone: str
    on: date | None = None
    weekdays: tuple[int, ...] = ()
    account: str | None = None
    session_id: str | None = None
    job_class: str | None = None

    def between(self, start: Instant, end: Instant) -> list[Window]:
        """Its windows that are on at some time in [start, end), by their start."""
        zone = ZoneInfo(self.zone)
        if self.on is not None:
            days = [self.on]
        else:
            first = _local(after(start, -self.length_s), zone).date()
            count = (_local(end, zone).date() - first).days + 1
            days = [first + timedelta(days=n) for n in range(count)]
            if self.weekdays:
                days = [day for day in days if day.weekday() in self.weekdays]
        windows = [self._on(day, zone) for day in days]
        return [one for one in windows if one.starts_at < end and one.ends_at > start]

    def _on(self, day: date, zone: ZoneInfo) -> Window:
        starts_at = _instant(datetime.combine(day, self.at, tzinfo=zone))
        return Window(
            name=self.name if self.on is not None else f"{self.name} {day.isoformat()}",
            kind=self.kind,
            starts_at=starts_at,
            ends_at=after(starts_at, self.length_s),
            account=self.account,
            session_id=self.session_id,
            job_class=self.job_class,
        )


def expand(rules: Iterable[WindowRule], now: Instant) -> tuple[Window, ...]:
    """The windows that are on now or start within the horizon, by their start."""
    end = after(now, HORIZON_S)
    windows = [window for rule in rules for window in rule.between(now, end)]
    return tuple(sorted(windows, key=lambda one: (one.starts_at, one.name)))


class WindowCalendar:
    """Tells the core about the site's windows, and goes on telling it as time passes.

    `rules`: by QPU name. QPUs without a rule are never mentioned.
    """

    def __init__(
        self,
        rules: Mapping[str, tuple[WindowRule, ...]],
        clock: Clock,
        post: Callable[[Event, None], None],
    ) -> None:
        self._rules = {name: some for name, some in rules.items() if some}
        self._clock = clock
        self._post = post
        self._task: asyncio.Task[None] | None = None

    def events(self) -> list[WindowsChanged]:
        """What the windows are now, for each QPU that has some."""
        now = self._clock.now()
        return [WindowsChanged(name, expand(rules, now)) for name, rules in self._rules.items()]

    def tell(self) -> None:
        """Post what the windows are now."""
        for event in self.events():
            self._post(event, None)

    def start(self) -> None:
        """Tell it now and every day from now on."""
        self.tell()
        if self._rules:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="windows")

    async def close(self) -> None:
        """Stop telling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._clock.sleep_until(after(self._clock.now(), RENEW_S))
            self.tell()


def _local(instant: Instant, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone)


def _instant(moment: datetime) -> Instant:
    since = moment.astimezone(UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
