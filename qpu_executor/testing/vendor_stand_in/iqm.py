"""IQM Server's API, as far as QRMI 0.26 uses it: circuit jobs and their counts."""

from __future__ import annotations

import re
import uuid
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

_STATUS = {
    WAITING: "waiting",
    RUNNING: "processing",
    DONE: "completed",
    CANCELLED: "cancelled",
    FAILED: "failed",
}
_BITS = 2
_PREFIX = "/iqm/api/v1"


def answer(site: Site, request: Request) -> Answer | None:
    """The quantum computer and its jobs, below `/iqm`."""
    if not request.path.startswith(_PREFIX):
        return None
    if request.headers.get("authorization") != f"Bearer {site.token}":
        return _fail(401, "unauthorized", "the token is expired or wrong")
    path = request.path.removeprefix(_PREFIX)
    if path.startswith("/quantum-computers/"):
        return Answer(_computer(site))
    if request.method == "POST" and re.fullmatch(r"/jobs/[\w:-]+/circuit", path):
        return _create(site, request)
    found = re.fullmatch(r"/jobs/([\w-]+)(/.*)?", path)
    job = None if found is None else site.machine.find(found[1])
    if found is None or job is None:
        return _fail(404, "job_not_found", "there is no such job")
    match found[2]:
        case "/cancel":
            site.machine.cancel(job)
        case "/artifacts/measurement_counts":
            return Answer([{"measurement_keys": ["m"], "counts": job.counts}])
        case str():
            return _fail(404, "job_artifact_not_found", "there is no such artifact")
    return Answer(_job(job))


def _create(site: Site, request: Request) -> Answer:
    wanted = request.json()
    if not isinstance(wanted, dict) or len(wanted.get("circuits", [])) != 1:
        return _fail(400, "invalid_job_payload", "circuits must hold one circuit")
    return Answer(_job(site.machine.take(int(wanted["shots"]), _BITS)))


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": "circuit",
        "status": _STATUS[job.state],
        "artifacts": [],
        "messages": [],
        "qc": {"id": str(uuid.UUID(int=1))},
        "timeline": [],
    }


def _computer(site: Site) -> dict[str, Any]:
    health = {"healthy": site.accessible, "updated_at": stamp(0)}
    return {
        "id": str(uuid.UUID(int=1)),
        "alias": "stand-in",
        "display_name": "Stand-in",
        "description": "",
        "backend_type": "mock",
        "pulla_enabled": False,
        "limits": {},
        "operational": site.accessible,
        "operational_status": "online" if site.accessible else "maintenance",
        "health": health,
        "queue_length": 0,
        "status": {"health": health},
    }


def _fail(status: int, code: str, message: str) -> Answer:
    return Answer(
        {"error_code": code, "message": message, "details": {}, "request_id": "1"}, status
    )
