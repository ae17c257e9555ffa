"""The HTTP application."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from qpu_executor import __version__
from qpu_executor.manager.api import (
    audit,
    events,
    openapi,
    policy,
    problems,
    queue,
    retention,
    sessions,
    site,
    tasks,
    tokens,
)
from qpu_executor.manager.api.gate import Gate
from qpu_executor.manager.api.limits import Limits
from qpu_executor.manager.api.load import Load
from qpu_executor.manager.api.warden import routes as warden
from qpu_executor.manager.auth.authentication import Authentication
from qpu_executor.manager.service.manager import Manager

DESCRIPTION = """
Submit quantum tasks, follow them, fetch their results.

Every error is a problem document (RFC 9457) whose `code` names its kind and whose
`next_step` says what to do. Send an `Idempotency-Key` with a submission, and the
same request may be repeated without running anything twice.
"""


def create_app(
    manager: Manager,
    authentication: Authentication,
    *,
    embedded: bool,
    limits: Limits | None = None,
) -> FastAPI:
    """The application in front of a started manager."""
    # The page at /docs must not need the internet: the manager's host often has none.
    app = FastAPIOffline(
        redoc_url=None, title="qpu-executor", version=__version__, description=DESCRIPTION
    )
    app.state.manager = manager
    app.state.load = Load(limits or Limits())
    app.state.embedded = embedded
    for part in (tasks, queue, site, sessions, policy, tokens, audit, retention, events, warden):
        app.include_router(part.router)
    app.add_middleware(
        Gate, authentication=authentication, load=app.state.load, note=audit.note_denial
    )
    problems.install(app, authentication.challenge, audit.note_denial)
    openapi.install(app, authentication.schemes)
    return app
