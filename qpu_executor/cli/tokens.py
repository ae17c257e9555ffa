"""`qpu token`: bearer tokens, for callers on other hosts."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.moments import read_span, when
from qpu_executor.cli.tables import table
from qpu_executor.errors import ConfigError
from qpu_executor.wire.tokens import TokenOut, TokenRequest

token = typer.Typer(
    help="Bearer tokens: issue, list, revoke.", no_args_is_help=True, add_completion=False
)


@token.command("issue")
def issue(
    user: Annotated[
        str | None, typer.Argument(help="Whom it is for (operators). Default: yourself.")
    ] = None,
    valid: Annotated[str, typer.Option("--valid", help="How long: 12h, 30-00.")] = "30-00",
    role: Annotated[
        list[str] | None, typer.Option("--role", help="`operator` or `service`; may be repeated.")
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What it is for, shown in the list.")] = "",
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a token and print it: this once, since only its digest is kept."""
    try:
        wanted = TokenRequest(
            user=user, roles=role or [], valid_s=read_span(valid, "--valid"), note=note
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(first["msg"], where=str(first["loc"][0])) from None
    with connected(manager) as client:
        made = client.issue_token(wanted)
        now = managers_now(client)
    if as_json:
        print(made.model_dump_json())
        return
    print(made.token)
    if sys.stderr.isatty():
        print(
            f"token {made.about.id} of {made.about.user}, valid until "
            f"{when(made.about.expires_at, now)}; keep it in a file (chmod 600) and set "
            "QPU_TOKEN_FILE",
            file=sys.stderr,
        )


@token.command("list")
def listed(manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """List your tokens; operators see everybody's. The tokens themselves aren't kept."""
    with connected(manager) as client:
        tokens, now = client.tokens(), managers_now(client)
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in tokens]))
        return
    rows = [
        [
            one.id,
            one.user,
            ", ".join(one.roles) or "-",
            one.issued_by,
            when(one.expires_at, now),
            "revoked" if one.revoked_at else "valid" if _valid(one, now) else "expired",
            one.note or "-",
        ]
        for one in tokens
    ]
    print(table(["ID", "USER", "ROLES", "ISSUED BY", "EXPIRES", "STATE", "NOTE"], rows))


@token.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id (`qpu token list`).")],
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a token now."""
    with connected(manager) as client:
        found = client.revoke_token(token_id)
    if as_json:
        print(found.model_dump_json())
        return
    print(f"token {found.id} of {found.user} is revoked")


def _valid(one: TokenOut, now: datetime) -> bool:
    return one.expires_at is None or one.expires_at > now
