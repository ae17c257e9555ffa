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
from typing import Any
from zoneinfo import ZoneInfo

from qpu_executor.manager.service.vital import Died, vital
from qpu_executor.manager.store.records import WindowRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import Event, WindowsChanged
from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import MICROSECONDS, WEEKDAYS, Instant, Window, after

HORIZON_S = 14 * 86_400.0
"""How far ahead recurring windows are known to the core."""

RENEW_S = 86_400.0
"""How often they are expanded anew."""

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

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> WindowRule:
        """A rule from the words of the site file, checked, as JSON has them."""
        on = words.get("on")
        return cls(
            name=words["name"],
            kind=WindowKind(words["kind"]),
            at=time.fromisoformat(words["at"]),
            length_s=words["length_s"],
            zone=words["zone"],
            on=None if on is None else date.fromisoformat(on),
            weekdays=tuple(WEEKDAYS.index(day) for day in words.get("weekdays", ())),
            account=words.get("account"),
            session_id=words.get("session"),
            job_class=words.get("job_class"),
        )

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

    def last_end(self) -> Instant | None:
        """When a one-off window is over; None for a recurring one."""
        return None if self.on is None else self._on(self.on, ZoneInfo(self.zone)).ends_at

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


@dataclass(frozen=True, slots=True)
class Listed:
    """A window as a listing shows it. `announced_by`: None for one of the site file."""

    qpu: str
    window: Window
    announced_by: str | None


class WindowCalendar:
    """Tells the core about windows, and goes on telling it as time passes.

    `rules`: the site file's, by QPU name. `announced`: those that operators announced.
    """

    def __init__(
        self,
        rules: Mapping[str, tuple[WindowRule, ...]],
        clock: Clock,
        post: Callable[[Event, None], None],
        announced: Iterable[WindowRow] = (),
    ) -> None:
        self._rules = dict(rules)
        self._announced = {(row.qpu, row.name): row for row in announced}
        self._clock = clock
        self._post = post
        self._task: asyncio.Task[None] | None = None

    def events(self) -> list[WindowsChanged]:
        """What the windows are now, for each QPU that has some."""
        qpus = {name for name, some in self._rules.items() if some}
        qpus |= {qpu for qpu, _ in self._announced if qpu in self._rules}
        return [self.event(name) for name in self._rules if name in qpus]

    def event(self, qpu: str) -> WindowsChanged:
        """What the windows of one QPU are now."""
        rules = [rule for rule, _ in self._all(qpu)]
        return WindowsChanged(qpu, expand(rules, self._clock.now()))

    def listed(self) -> list[Listed]:
        """Every window that is on or known, the soonest first."""
        now = self._clock.now()
        found = [
            Listed(qpu, window, by)
            for qpu in self._rules
            for rule, by in self._all(qpu)
            for window in expand([rule], now)
        ]
        return sorted(found, key=lambda one: (one.window.starts_at, one.qpu))

    def change_rules(self, rules: Mapping[str, tuple[WindowRule, ...]]) -> None:
        """The site file's windows are these from now on; tells nobody."""
        self._rules = dict(rules)

    def in_site_file(self, qpu: str, name: str) -> bool:
        """True if the site file has a window of this name for the QPU."""
        return any(rule.name == name for rule in self._rules.get(qpu, ()))

    def announced(self, qpu: str) -> list[str]:
        """Names of the windows that operators announced for a QPU."""
        return [name for one, name in self._announced if one == qpu]

    def put(self, row: WindowRow) -> WindowsChanged:
        """Add a window that was announced; returns what the core has to be told."""
        self._announced[row.qpu, row.name] = row
        return self.event(row.qpu)

    def drop(self, qpu: str, name: str) -> WindowsChanged:
        """Take one back; returns what the core has to be told."""
        self._announced.pop((qpu, name), None)
        return self.event(qpu)

    def over(self) -> list[WindowRow]:
        """Announced windows that are over for good."""
        now = self._clock.now()
        return [
            row
            for row in self._announced.values()
            if (end := WindowRule.of_words(row.rule).last_end()) is not None and end <= now
        ]

    def tell(self) -> None:
        """Post what the windows are now."""
        for event in self.events():
            self._post(event, None)

    def start(self, died: Died) -> None:
        """Tell it now and every day from now on. `died`: see `vital`."""
        self.tell()
        self._task = vital(self._run(), "windows", died)

    async def close(self) -> None:
        """Stop telling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._clock.sleep_until(after(self._clock.now(), RENEW_S))
            self.tell()

    def _all(self, qpu: str) -> list[tuple[WindowRule, str | None]]:
        mine = [row for (one, _), row in self._announced.items() if one == qpu]
        return [
            *((rule, None) for rule in self._rules.get(qpu, ())),
            *((WindowRule.of_words(row.rule), row.announced_by) for row in mine),
        ]


def _local(instant: Instant, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone)


def _instant(moment: datetime) -> Instant:
    since = moment.astimezone(UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
