"""Alice & Bob's API Felis, as far as QRMI 0.26 uses it: jobs, their input, their histogram."""

from __future__ import annotations

import re
from typing import Any

from qpu_executor.testing.vendor_stand_in.exchange import Answer, Request, Site
from qpu_executor.testing.vendor_stand_in.machine import (
    CANCELLED,
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Job,
    stamp,
)

_EVENT = {
    WAITING: "INPUT_READY",
    RUNNING: "EXECUTING",
    DONE: "SUCCEEDED",
    CANCELLED: "CANCELLED",
    FAILED: "EXECUTION_FAILED",
}
_BITS = 2
_TARGET = "EMU:1Q:STAND_IN"


def answer(site: Site, request: Request) -> Answer | None:
    """Targets and jobs, below `/felis`."""
    if not request.path.startswith("/felis/v1/"):
        return None
    if not request.headers.get("authorization", "").startswith("Basic "):
        return Answer({"error": {"message": "no credentials"}}, 401)
    path = request.path.removeprefix("/felis/v1")
    if path == "/targets/":
        return Answer([_target()])
    if path == "/jobs/" and request.method == "POST":
        return _create(site, request)
    found = re.fullmatch(r"/jobs/([\w-]+)(/\w+)?", path)
    job = None if found is None else site.machine.find(found[1])
    if found is None or job is None:
        return Answer({"error": {"message": "there is no such job"}}, 404)
    match found[2]:
        case "/input":
            return Answer({})
        case "/output":
            rows = "".join(f"{bits},{times}\n" for bits, times in job.counts.items())
            return Answer(rows, kind="text/plain")
    if request.method == "DELETE":
        site.machine.cancel(job)
    return Answer(_job(job))


def _create(site: Site, request: Request) -> Answer:
    wanted = request.json()
    shots = wanted.get("inputParams", {}).get("nbShots") if isinstance(wanted, dict) else None
    if not isinstance(shots, int):
        return Answer({"error": {"message": "inputParams.nbShots is missing"}}, 422)
    return Answer(_job(site.machine.take(shots, _BITS)))


def _job(job: Job) -> dict[str, Any]:
    return {
        "inputDataFormat": "HUMAN_QIR",
        "outputDataFormat": "HISTOGRAM",
        "target": _TARGET,
        "inputParams": {"nbShots": job.shots},
        "id": job.id,
        "userName": "someone",
        "userId": "1",
        "organizationName": "stand-in",
        "events": [{"type": _EVENT[job.state], "createdAt": stamp(job.created_at)}],
        "errors": [],
    }


def _target() -> dict[str, Any]:
    return {
        "name": _TARGET,
        "numQubits": 1,
        "instructions": [],
        "inputParams": {},
        "status": "ONLINE",
        "availability": [],
    }
