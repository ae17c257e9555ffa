"""The audit log: its route, and what of an answer's error goes into it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime

from qpu_executor.errors import NotAllowed, NotAuthenticated
from qpu_executor.manager.api.context import Asked
from qpu_executor.manager.api.gate import CALLER, PEER, origin_of
from qpu_executor.manager.api.views import instant, moment
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.audit import AuditEntry, AuditFilter, who_of
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.operations import Operations
from qpu_executor.wire.audit import AuditEntryOut, AuditList
from qpu_executor.wire.tasks import Problem

router = APIRouter(
    prefix="/v1",
    tags=["operators"],
    responses={400: {"model": Problem}, 403: {"model": Problem}},
)

MOST_SAID = 200
"""Characters of a reason that are kept."""


@router.get("/audit")
async def audit(
    asked: Asked,
    before: Annotated[int | None, Query(ge=1, description="entries below this number")] = None,
    since: Annotated[AwareDatetime | None, Query(description="not before this instant")] = None,
    by: Annotated[str | None, Query(max_length=200, description="a user's name")] = None,
    what: Annotated[str | None, Query(max_length=200, description="for example `drain`")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="entries, at most")] = 100,
) -> AuditList:
    """What operators and services did, and who was turned away; the newest first."""
    which = AuditFilter(before, _since(since), by, what, limit)
    found, more = await Operations(asked.manager, asked.caller).audit(which)
    return AuditList(entries=[_out(one) for one in found], before=more)


def note_denial(request: Request, error: Exception) -> None:
    """Put on record that somebody was turned away; what they presented is not kept."""
    manager: Manager = request.app.state.manager
    asked = {"what": f"{request.method} {_pattern(request)}", "origin": origin_of(request.scope)}
    if isinstance(error, NotAllowed):
        caller = request.scope.get(CALLER)
        if isinstance(caller, Caller):
            told = {**who_of(caller), **asked, "outcome": f"refused: {error.message[:MOST_SAID]}"}
            manager.denials.record("Denied", told)
    elif isinstance(error, NotAuthenticated) and (presented := _presented(request)):
        scheme, secrets = presented
        said = error.message
        for secret in secrets:
            said = said.replace(secret, "…")
        peer = request.scope.get(PEER)
        told = {
            "who": None,
            "uid": peer.uid if isinstance(peer, Caller) else None,
            "how": scheme,
            **asked,
            "outcome": f"refused: {said[:MOST_SAID]}",
        }
        manager.denials.record("AuthenticationFailed", told)


# -- below: no routes -----------------------------------------------------------


def _since(since: datetime | None) -> int:
    return 0 if since is None else max(0, instant(since))


def _pattern(request: Request) -> str:
    """The path as the API's description has it: no id that somebody made up.

    Where nobody had found the route yet, its beginning.
    """
    route = request.scope.get("route")
    begins = "/".join(request.url.path.split("/")[:3])
    return getattr(route, "path", begins[:MOST_SAID])


def _presented(request: Request) -> tuple[str, list[str]] | None:
    """The scheme and the words of a proof in the headers; None where there is none.

    A request without one is no attempt: clients ask so which proofs are taken.
    """
    if (legacy := request.headers.get("x-munge-cred")) is not None:
        return "MUNGE", legacy.split()
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    return (scheme[:MOST_SAID], rest.split()) if scheme else None


def _out(one: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        n=one.n,
        at=moment(one.at),
        who=one.who,
        uid=one.uid,
        how=one.how,
        origin=one.origin,
        role=one.role,
        what=one.what,
        about=dict(one.about),
        outcome=one.outcome,
    )
