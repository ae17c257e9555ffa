"""The farm's HTTP side: aiohttp in front of the desk. Every answer is JSON, also refusals."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ValidationError

from qpu_executor.errors import ProgramError, QpuExecutorError
from qpu_executor.farm.desk import Desk, FarmFull, NameTaken, UnknownChunk
from qpu_executor.qpus import farm_protocol as protocol
from qpu_executor.qpus.farm_protocol import ChunkRequest, Problem

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Code = Literal[
    "bad-request", "unauthorised", "unknown", "conflict", "refused", "too-large", "unavailable"
]


def make_app(desk: Desk, token: str | None) -> web.Application:
    """The application. `token`: what every request has to bring (None: nothing, on a socket
    that the file system guards).
    """
    app = web.Application(
        client_max_size=protocol.MAX_REQUEST_BYTES, middlewares=[_guard(token), _told_as_json]
    )
    routes = _Routes(desk)
    app.router.add_post(protocol.CHUNKS, routes.take)
    app.router.add_get(protocol.CHUNKS + "/{id}", routes.report)
    app.router.add_post(protocol.CHUNKS + "/{id}/stop", routes.stop)
    app.router.add_get(protocol.HEALTH, routes.health)
    app.router.add_get(protocol.CAPABILITIES, routes.capabilities)
    app.router.add_get(protocol.DEVICE, routes.device)
    return app


class _Routes:
    """One method per route."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def take(self, request: web.Request) -> web.Response:
        """`POST /v1/chunks`."""
        order = ChunkRequest.model_validate_json(await request.read())
        return _answer(await self._desk.take(order), status=202)

    async def report(self, request: web.Request) -> web.Response:
        """`GET /v1/chunks/{id}?wait_s=`."""
        wait_s = float(request.query.get("wait_s", "0"))
        if not 0 <= wait_s <= protocol.MAX_WAIT_S:
            raise ValueError(f"wait_s must be 0 to {protocol.MAX_WAIT_S:g}")
        return _answer(await self._desk.report(request.match_info["id"], wait_s))

    async def stop(self, request: web.Request) -> web.Response:
        """`POST /v1/chunks/{id}/stop`."""
        return _answer(await self._desk.stop(request.match_info["id"]))

    async def health(self, request: web.Request) -> web.Response:
        """`GET /v1/health`."""
        return _answer(await self._desk.health())

    async def capabilities(self, request: web.Request) -> web.Response:
        """`GET /v1/capabilities`."""
        return _answer(self._desk.capabilities())

    async def device(self, request: web.Request) -> web.Response:
        """`GET /v1/device`."""
        return _answer(await self._desk.device())


def _guard(token: str | None) -> Any:
    expected = b"" if token is None else f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if token is not None and not hmac.compare_digest(given, expected):
            return _problem(401, "unauthorised", "this farm wants its token")
        return await handler(request)

    return guard


@web.middleware
async def _told_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return _problem(400, "bad-request", f"{place}: {first['msg']}".removeprefix(": "))
    except ValueError as error:
        return _problem(400, "bad-request", str(error))
    except UnknownChunk as error:
        return _problem(404, "unknown", str(error))
    except NameTaken as error:
        return _problem(409, "conflict", str(error))
    except FarmFull as error:
        return _problem(503, "unavailable", str(error))
    except ProgramError as error:
        rule = getattr(error, "rule", None)
        return _problem(422, "refused", error.message, rule=rule, next_step=error.next_step)
    except QpuExecutorError as error:
        return _problem(503, "unavailable", error.message, next_step=error.next_step)
    except web.HTTPRequestEntityTooLarge:
        most = protocol.MAX_REQUEST_BYTES >> 20
        return _problem(413, "too-large", f"a request may have {most} MB")
    except web.HTTPException as error:
        code: Code = "unknown" if error.status == 404 else "bad-request"
        return _problem(error.status, code, f"{request.method} {request.path}: {error.reason}")
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _problem(500, "unavailable", "the farm failed; its log says how")


def _answer(shape: BaseModel, status: int = 200) -> web.Response:
    return web.Response(
        body=shape.model_dump_json().encode(), status=status, content_type="application/json"
    )


def _problem(
    status: int, error: Code, message: str, *, rule: str | None = None, next_step: str | None = None
) -> web.Response:
    found = Problem(error=error, message=message, rule=rule, next_step=next_step)
    return web.Response(
        body=json.dumps(found.model_dump()).encode(),
        status=status,
        content_type="application/json",
    )
