"""`qpu audit`: what operators and services did, and who was turned away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.moments import on_the_clock, read_span
from qpu_executor.cli.tables import table
from qpu_executor.wire.audit import AuditEntryOut


def audit(
    since: Annotated[
        str | None,
        typer.Option("--since", help="How long ago at most (`2h`, `7d`), or since when."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Only what this user did.")] = None,
    what: Annotated[
        str | None, typer.Option("--what", help="Only this: `drain`, `issue token`, ...")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="The newest so many.")
    ] = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Entries below this number.")
    ] = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the audit log (operators): the newest entries, in their order."""
    with connected(manager) as client:
        now = managers_now(client)
        start = None if since is None else _since(since, now)
        found = client.audit(before=before, since=start, by=by, what=what, limit=limit)
    if as_json:
        print(found.model_dump_json())
        return
    rows = [_row(one, now) for one in reversed(found.entries)]
    print(table(["N", "WHEN", "WHO", "HOW", "FROM", "WHAT", "ABOUT", "OUTCOME"], rows))
    if found.before is not None:
        print(f"there may be older ones: qpu audit --before {found.before}")


# -- below: no verbs ------------------------------------------------------------


def _since(text: str, now: datetime) -> datetime:
    """Raises ConfigError for what is neither an instant nor a time span."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return now - timedelta(seconds=read_span(text, "--since"))
    return found if found.tzinfo else found.astimezone()


def _row(one: AuditEntryOut, now: datetime) -> list[str]:
    about = " ".join(f"{name}={_short(value)}" for name, value in one.about.items())
    return [
        str(one.n),
        on_the_clock(one.at, now),
        one.who or "unknown",
        one.how or "-",
        one.origin or "-",
        one.what,
        about or "-",
        one.outcome,
    ]


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value[:10]) + ("…" if len(value) > 10 else "")
    return str(value)
