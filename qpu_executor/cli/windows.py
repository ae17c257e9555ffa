"""`qpu window`: maintenance and reservations, listed, announced and taken back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, cast

import typer
from pydantic import ValidationError

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.moments import read_moment, read_span, when
from qpu_executor.cli.tables import table
from qpu_executor.errors import ConfigError
from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import WEEKDAYS
from qpu_executor.nearest import did_you_mean
from qpu_executor.wire.policy import Weekday, WindowOut, WindowRequest

_CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?")

_OPTIONS = {"length_s": "--length", "at": "--at", "zone": "--zone", "job_class": "--class"}

WINDOWS_SHOWN = 10
"""Windows that `qpu window` prints: recurring ones are listed for days ahead."""

window = typer.Typer(
    help="Maintenance and reservations: list, announce, take back.",
    invoke_without_command=True,
    add_completion=False,
)

Qpu = Annotated[str, typer.Argument(help="The QPU's name (`qpu info`).")]
Name = Annotated[str, typer.Argument(help="The window's name, which users read as the reason.")]


@window.callback()
def show(
    context: typer.Context, manager: ManagerOption = None, as_json: JsonOption = False
) -> None:
    """Maintenance and reservations that are on or planned."""
    if context.invoked_subcommand is not None:
        return
    with connected(manager) as client:
        _print(client.windows(), managers_now(client), as_json)


@window.command("add")
def add(
    qpu: Qpu,
    name: Name,
    length: Annotated[str, typer.Option("--length", "-l", help="How long: 2h, 90min, 1-00.")],
    at: Annotated[
        str, typer.Option("--at", help="When it starts: 14:00, now+30minutes, 2026-11-24T08:00.")
    ] = "now",
    every: Annotated[
        list[str] | None,
        typer.Option("--every", help="A weekday, or `day`; may be repeated. Default: once."),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option("--zone", help="Time zone of --at with --every, like Europe/Paris."),
    ] = None,
    account: Annotated[str | None, typer.Option("--account", help="Reserved for.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Reserved for.")] = None,
    job_class: Annotated[str | None, typer.Option("--class", help="Reserved for.")] = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a QPU for a time, or reserve it for an account, a session or a class."""
    span_s = read_span(length, "--length")
    if zone is not None and not every:
        raise ConfigError("--zone goes with --every", where="--zone", expected="no --zone")
    with connected(manager) as client:
        now = managers_now(client)
        if every:
            weekdays = _weekdays(every)
            if not _CLOCK.fullmatch(at):
                raise ConfigError(
                    f"{at!r} is no wall-clock time", where="--at", expected="like 14:00"
                )
            words = {"at": at, "weekdays": weekdays, "zone": zone or "UTC"}
        else:
            start = read_moment(at, now, "--at").astimezone(UTC)
            words = {"at": start.time().isoformat(), "on": start.date().isoformat()}
        reserved = account or session or job_class
        request = _request(
            {
                "name": name,
                "kind": WindowKind.RESERVATION if reserved else WindowKind.MAINTENANCE,
                "length_s": span_s,
                "account": account,
                "session": session,
                "job_class": job_class,
                **words,
            }
        )
        _print(client.announce_window(qpu, request), managers_now(client), as_json)


@window.command("remove")
def remove(
    qpu: Qpu, name: Name, manager: ManagerOption = None, as_json: JsonOption = False
) -> None:
    """Take back a window that was announced with `qpu window add`."""
    with connected(manager) as client:
        _print(client.withdraw_window(qpu, name), managers_now(client), as_json)


def windows_text(windows: list[WindowOut], now: datetime) -> str:
    """The next windows as a table. `now`: the manager's, on the clock that is shown."""
    rows = [
        [
            one.qpu,
            one.name or "-",
            one.kind,
            when(one.starts_at, now),
            when(one.ends_at, now),
            ", ".join(
                f"{word} {name}"
                for word, name in (
                    ("account", one.account),
                    ("session", one.session),
                    ("class", one.job_class),
                )
                if name is not None
            )
            or "nobody",
            one.announced_by or "site file",
        ]
        for one in windows[:WINDOWS_SHOWN]
    ]
    text = table(["QPU", "WINDOW", "KIND", "STARTS", "ENDS", "FOR", "BY"], rows)
    rest = len(windows) - len(rows)
    return text + (f"\n… and {rest} more (--json has them all)" if rest > 0 else "")


# -- below: no verbs ------------------------------------------------------------


def _print(windows: list[WindowOut], now: datetime, as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in windows]))
        return
    print(windows_text(windows, now))


def _request(words: dict[str, object]) -> WindowRequest:
    """Raises ConfigError with the option that is wrong."""
    try:
        return WindowRequest.model_validate(words)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "window"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(message, where=_OPTIONS.get(field, field)) from None


def _weekdays(named: list[str]) -> list[Weekday]:
    """`day` is every day, which the manager writes as no weekday at all."""
    words = [one.strip().lower() for one in named]
    for word in words:
        if word != "day" and word not in WEEKDAYS:
            raise ConfigError(
                f"{word!r} is no weekday{did_you_mean(word, WEEKDAYS)}",
                where="--every",
                expected=f"day, or one of {', '.join(WEEKDAYS)}",
            )
    return [] if "day" in words else cast("list[Weekday]", words)
