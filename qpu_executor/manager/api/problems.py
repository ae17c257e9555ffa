"""Every error as an RFC 9457 problem document."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qpu_executor import errors
from qpu_executor.errors import QpuExecutorError
from qpu_executor.nearest import did_you_mean
from qpu_executor.wire.tasks import Problem, ProgramIn, SubmitRequest, TaskRequest

log = logging.getLogger(__name__)

Note = Callable[[Request, QpuExecutorError], None]

_STATUS: tuple[tuple[type[QpuExecutorError], HTTPStatus], ...] = (
    (errors.UnknownTask, HTTPStatus.NOT_FOUND),
    (errors.TaskExpired, HTTPStatus.GONE),
    (errors.NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.NotAllowed, HTTPStatus.FORBIDDEN),
    (errors.KeyConflict, HTTPStatus.CONFLICT),
    (errors.IllegalMove, HTTPStatus.CONFLICT),
    (errors.TaskCancelled, HTTPStatus.CONFLICT),
    (errors.TaskFailed, HTTPStatus.CONFLICT),
    (errors.ProgramError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.CallerError, HTTPStatus.BAD_REQUEST),
    (errors.ManagerBusy, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.OperatorError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (errors.QpuExecutorError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def status_of(error: QpuExecutorError) -> HTTPStatus:
    """The HTTP status that fits an error."""
    if isinstance(error, errors.ManagerBusy) and error.own_limit:
        return HTTPStatus.TOO_MANY_REQUESTS
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem_of(
    error: QpuExecutorError, key: str | None = None, status: HTTPStatus | None = None
) -> Problem:
    """The problem document of an error. `status`: where another one fits better."""
    status = status or status_of(error)
    return Problem(
        title=status.phrase,
        status=status,
        detail=error.message,
        code=error.code,
        where=error.where,
        expected=error.expected,
        next_step=error.next_step,
        rule=getattr(error, "rule", None),
        permanent=error.permanent,
        key=key,
    )


def answer(
    error: QpuExecutorError, key: str | None = None, status: HTTPStatus | None = None
) -> JSONResponse:
    """The HTTP answer of an error. `status`: where another one fits better."""
    problem = problem_of(error, key, status)
    headers = {}
    if isinstance(error, errors.ManagerBusy):
        headers["Retry-After"] = f"{max(1, round(error.retry_after_s))}"
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=problem.status,
        media_type="application/problem+json",
        headers=headers,
    )


def install(
    app: FastAPI, challenge: str, note: Callable[[Request, QpuExecutorError], None]
) -> None:
    """Make every failure of an app a problem document. `challenge`: for WWW-Authenticate.

    `note`: puts those on record that the audit log tells.
    """

    @app.exception_handler(QpuExecutorError)
    async def ours(request: Request, error: QpuExecutorError) -> JSONResponse:
        note(request, error)
        found = answer(error, request.headers.get("idempotency-key"))
        if isinstance(error, errors.NotAuthenticated) and challenge:
            found.headers["WWW-Authenticate"] = challenge
        return found

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(_of_validation(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        kind = errors.UnknownTask if error.status_code == 404 else errors.CallerError
        found = problem_of(kind(str(error.detail), where=request.url.path))
        problem = found.model_copy(
            update={
                "status": error.status_code,
                "title": HTTPStatus(error.status_code).phrase,
                "code": errors.CallerError.code,
            }
        )
        return JSONResponse(
            problem.model_dump(mode="json", exclude_none=True),
            status_code=error.status_code,
            media_type="application/problem+json",
            headers=error.headers,
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(
            errors.InternalError(
                "the manager made a mistake; its log has the details",
                next_step="tell the site's operators",
            )
        )


def _of_validation(error: RequestValidationError) -> errors.CallerError:
    """All that is wrong with a request, in one error."""
    known = {
        name for model in (TaskRequest, SubmitRequest, ProgramIn) for name in model.model_fields
    }
    found = []
    for one in error.errors():
        place = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
        if one["type"] == "extra_forbidden":
            name = str(one["loc"][-1])
            found.append(f"{place}: unknown field{did_you_mean(name, known)}")
        else:
            found.append(f"{place}: {one['msg']}")
    return errors.RequestRefused("; ".join(found), where="request", next_step="see /docs")
