"""The site file's windows: times in which a QPU is closed, or reserved."""

from __future__ import annotations

from datetime import date, time
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from qpu_executor.manager.service.window_calendar import WEEKDAYS, WindowRule
from qpu_executor.model.states import WindowKind
from qpu_executor.settings.part import Name, Part

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class WindowSettings(Part):
    """A time in which a QPU is closed, or reserved (`manager/service/window_calendar.py`).

    `at`: wall-clock time in `zone`. `on`: the day of a one-off window; else it is
    every day, or on these `weekdays`. A reservation names whom it is for.
    """

    name: str = Field(min_length=1, max_length=64)
    kind: WindowKind = WindowKind.MAINTENANCE
    at: time
    length_s: float = Field(gt=0, le=31 * 86_400)
    zone: str = "UTC"
    on: date | None = None
    weekdays: list[Weekday] = []
    account: Name | None = None
    session: str | None = None
    job_class: Name | None = None

    @field_validator("at", mode="before")
    @classmethod
    def _no_number(cls, at: Any) -> Any:
        if not isinstance(at, str | time):  # a number would pass as seconds after midnight
            raise ValueError('expected a wall-clock time, like "14:00"')
        return at

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"there is no time zone {zone!r} (like Europe/Paris, or UTC)")
        return zone

    @model_validator(mode="after")
    def _for_somebody(self) -> WindowSettings:
        for_whom = any((self.account, self.session, self.job_class))
        if self.kind is WindowKind.RESERVATION and not for_whom:
            raise ValueError("a reservation needs an account, a session or a job_class")
        if self.kind is WindowKind.MAINTENANCE and for_whom:
            raise ValueError("maintenance is for nobody; use kind: reservation")
        if self.on is not None and self.weekdays:
            raise ValueError("either `on` a day or on `weekdays`, not both")
        return self

    def rule(self) -> WindowRule:
        """The window as the manager's calendar sees it."""
        return WindowRule(
            name=self.name,
            kind=self.kind,
            at=self.at,
            length_s=self.length_s,
            zone=self.zone,
            on=self.on,
            weekdays=tuple(WEEKDAYS.index(day) for day in self.weekdays),
            account=self.account,
            session_id=self.session,
            job_class=self.job_class,
        )
