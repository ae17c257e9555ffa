"""From a manager's answer to an error of ours. No I/O.

What isn't an answer of this product (a login page, another service on the same
port) is a ManagerUnreachable that says what answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from qpu_executor.errors import (
    CallerError,
    InternalError,
    ManagerBusy,
    ManagerUnreachable,
    ProgramRefused,
    QpuExecutorError,
    RequestRefused,
    TaskFailed,
    error_types,
)
from qpu_executor.nearest import did_you_mean
from qpu_executor.wire.tasks import DependencyIn, NeedsIn

M = TypeVar("M", bound=BaseModel)

BUSY = frozenset({429, 503})
_NESTED = (*NeedsIn.model_fields, *DependencyIn.model_fields)
"""Names that a task's options hold within."""
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came: status, headers with names in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def read_reply(reply: Reply, model: type[M], url: str) -> M:
    """The value in a reply. Raises the error that the reply carries, or that it isn't ours."""
    error = error_in(reply, url)
    if error is not None:
        raise error
    try:
        return model.model_validate_json(reply.body)
    except ValidationError:
        raise foreign(reply, url) from None


def error_in(reply: Reply, url: str) -> QpuExecutorError | None:
    """The error that a reply carries; None for a success."""
    if 200 <= reply.status < 300:
        return None
    try:
        fields = json.loads(reply.body)
    except ValueError:
        fields = None
    if isinstance(fields, dict) and isinstance(fields.get("code"), str):
        return error_from(fields, status=reply.status, retry_after_s=retry_after_s(reply))
    if reply.status in BUSY:
        return ManagerBusy(
            f"the manager at {url} is busy (HTTP {reply.status})",
            retry_after_s=retry_after_s(reply),
            next_step="try again later",
        )
    return foreign(reply, url)


def error_from(
    fields: Mapping[str, Any], *, status: int = 500, retry_after_s: float = 1.0
) -> QpuExecutorError:
    """A problem document (as a mapping) as the error class that its `code` names.

    A code that this version doesn't know becomes CallerError (4xx) or InternalError.
    """
    code = fields.get("code")
    cls = error_types().get(code) if isinstance(code, str) else None
    if cls is None:
        cls = CallerError if 400 <= status < 500 else InternalError
    extra: dict[str, Any] = {name: fields.get(name) for name in ("where", "expected", "next_step")}
    if issubclass(cls, ProgramRefused):
        extra["rule"] = fields.get("rule")
    elif issubclass(cls, TaskFailed):
        extra["permanent"] = bool(fields.get("permanent", False))
    elif issubclass(cls, ManagerBusy):
        extra["retry_after_s"] = retry_after_s
        extra["own_limit"] = status == 429
    message = fields.get("detail") or fields.get("title") or f"the manager says {code!r}"
    return cls(str(message), **extra)


def retry_after_s(reply: Reply) -> float:
    """Seconds that a reply asks to wait; 1 where it doesn't say (or says a date)."""
    try:
        return max(0.0, float(reply.headers.get("retry-after", "1")))
    except ValueError:
        return 1.0


def foreign(reply: Reply, url: str) -> ManagerUnreachable:
    """Something answers at `url`, and it isn't this product."""
    kind = reply.headers.get("content-type", "no content type").split(";")[0]
    server = reply.headers.get("server")
    start = reply.body[:80].decode("utf-8", "replace").strip()
    seen = f"HTTP {reply.status}, {kind}" + (f", server {server}" if server else "")
    if start:
        seen += f", {start!r}"
    return ManagerUnreachable(
        f"what answers at {url} is no QPU manager of a version that this client knows ({seen})",
        where=url,
        next_step="check QPU_MANAGER or the address, and that no proxy stands in between",
    )


def refusal_of(invalid: ValidationError, where: str) -> RequestRefused:
    """What a request's own checks say is wrong, as the manager would refuse it."""
    first = invalid.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(str(first["loc"][-1]), _NESTED)
        return RequestRefused(f"{field}: unknown name{hint}", where=where)
    said = first["msg"].removeprefix("Value error, ")
    if not field:
        return RequestRefused(said, where=where)
    return RequestRefused(
        f"{field}={first['input']!r} is not possible",
        where=where,
        expected=said.removeprefix("Input should be ").removeprefix("expected "),
    )
