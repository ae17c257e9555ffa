"""HTTP in front of the machine: the controller's API, and `/control` to make it misbehave.

GET  /control/state      requests by call, jobs, behaviour, ledger
POST /control/machine    changes of `Behaviour`
POST /control/specs      fields of the device that are different from now on
POST /control/faults     a list of `Fault`: these and no others
POST /control/forget     as if it was switched off and on
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from qpu_executor.testing.controller.faults import Deed, Fault, Faults, Route
from qpu_executor.testing.controller.jobs import JobBook, MachineJob, moment

API = "/api/v1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandInServer:
    """`requests`: how often each call was made, by `Route.value`."""

    def __init__(self, machine: JobBook, faults: Faults) -> None:
        self.machine = machine
        self.faults = faults
        self.requests: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> str:
        """Open the machine and listen; the URL."""
        await self.machine.open()
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound = self._runner.addresses[0][1]
        return f"http://{host}:{bound}"

    async def close(self) -> None:
        """Stop listening, and end the machine."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.machine.close()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        calls: list[tuple[str, str, Route, Handler]] = [
            ("POST", "/jobs", Route.CREATE, self._create),
            ("GET", "/jobs/{uid}", Route.JOB, self._job),
            ("PUT", "/jobs/{uid}/cancel", Route.CANCEL, self._cancel),
            ("GET", "/system/operational", Route.OPERATIONAL, self._operational),
            ("GET", "/system", Route.SYSTEM, self._system),
        ]
        for method, path, route, handler in calls:
            app.router.add_route(method, API + path, self._with_faults(route, handler))
        app.router.add_get("/control/state", self._state)
        app.router.add_post("/control/{what}", self._control)
        return app

    # -- the controller's API --------------------------------------------------------

    async def _create(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            shots, sequence, context = body["nb_run"], body["pulser_sequence"], body["context"]
        except (ValueError, KeyError, TypeError):
            return _failed(422, "the body isn't a job")
        if type(shots) is not int or not isinstance(sequence, str) or not isinstance(context, dict):
            return _failed(422, "the body isn't a job")
        most = self.machine.specs.get("max_runs")
        if shots < 1 or (most is not None and shots > most):
            return _failed(400, f"nb_run must be between 1 and {most}")
        return _said(self._document(self.machine.create(shots, sequence, context)))

    async def _job(self, request: web.Request) -> web.StreamResponse:
        job = self._find(request)
        return _unknown() if job is None else _said(self._document(job))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job = self._find(request)
        if job is None:
            return _unknown()
        if not await self.machine.cancel(job):
            body = {"code": "3003", "message": "Not OK", "data": {"status": job.status}}
            return web.json_response(body, status=400)
        return _said(self._document(job))

    async def _operational(self, request: web.Request) -> web.StreamResponse:
        return _said({"operational_status": await self.machine.operational()})

    async def _system(self, request: web.Request) -> web.StreamResponse:
        return _said({"specs": self.machine.specs})

    def _find(self, request: web.Request) -> MachineJob | None:
        uid = request.match_info["uid"]
        return self.machine.jobs.get(int(uid)) if uid.isdecimal() else None

    def _document(self, job: MachineJob) -> dict[str, Any]:
        echo = self.machine.behaviour.echo
        return {
            "uid": job.uid,
            "datetime": moment(job.created),
            "nb_run": job.shots,
            "pulser_sequence": job.sequence,
            "result": job.result,
            "client_id": None,
            "program_id": job.uid,
            "program": None,
            "context": job.context if echo else None,
            "batch_id": job.context.get("batch_id") if echo else None,
            "status": job.status,
            "created_datetime": moment(job.created),
            "start_datetime": moment(job.started),
            "end_datetime": moment(job.ended),
            "progress": None,
        }

    # -- faults ------------------------------------------------------------------------

    def _with_faults(self, route: Route, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests[route.value] += 1
            await request.read()
            fault = self.faults.strike(route)
            if fault is None:
                return await handler(request)
            right = await handler(request) if fault.handled else None
            if fault.kills is not None:
                _kill(fault.kills)
            if fault.do is Deed.SLOW:
                # As a server whose caller has hung up: it goes on with what it was asked.
                await asyncio.sleep(fault.delay_s)
            if right is None and fault.do in (Deed.SLOW, Deed.CUT):
                right = await handler(request)
            return await _misdeed(fault, request, right)

        return answer

    # -- control -----------------------------------------------------------------------

    async def _state(self, request: web.Request) -> web.StreamResponse:
        machine = self.machine
        return web.json_response(
            {
                "requests": dict(self.requests),
                "jobs": [self._document(job) for job in machine.jobs.values()],
                "behaviour": machine.behaviour.model_dump(),
                "ledger": machine.ledger.lines,
            }
        )

    async def _control(self, request: web.Request) -> web.StreamResponse:
        what = request.match_info["what"]
        try:
            body = json.loads(await request.read() or b"{}")
            if what == "machine":
                self.machine.change(body)
            elif what == "specs":
                self.machine.specs = {**self.machine.specs, **body}
            elif what == "faults":
                self.faults.switch(body)
            elif what == "forget":
                self.machine.forget()
            else:
                return _failed(404, f"there is no control {what!r}")
        except (ValidationError, ValueError, TypeError) as error:
            return _failed(422, str(error))
        return web.json_response({})


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _misdeed(
    fault: Fault, request: web.Request, right: web.StreamResponse | None
) -> web.StreamResponse:
    """`right`: the answer to what was done, if it was."""
    match fault.do:
        case Deed.STATUS:
            return _failed(fault.status, "a fault that was asked for")
        case Deed.HTML:
            page = "<html><body><h1>It works!</h1></body></html>"
            return web.Response(text=page, content_type="text/html")
        case Deed.GARBAGE:
            return web.json_response({"data": {"uid": "seven", "status": "SLEEPING"}})
        case Deed.HANG:
            await asyncio.sleep(3600)
        case Deed.SLOW:
            assert right is not None
            return right
        case Deed.CUT:
            assert isinstance(right, web.Response)
            body = right.body if isinstance(right.body, bytes) else b""
            half = body[: len(body) // 2]
            return web.Response(status=right.status, body=half, content_type="application/json")
        case Deed.DROP:
            if request.transport is not None:
                request.transport.abort()
    return web.Response()


def _said(data: dict[str, Any]) -> web.Response:
    body = {"code": 200, "message": "OK.", "data": data, "status": "success"}
    return web.json_response(body)


def _unknown() -> web.Response:
    return web.json_response({"detail": "Bad request"}, status=400)


def _failed(status: int, why: str) -> web.Response:
    return web.json_response({"detail": why}, status=status)
