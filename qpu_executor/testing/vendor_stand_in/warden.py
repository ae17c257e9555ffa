"""Warden's API, as far as QRMI 0.26 uses it for `pasqal-local`."""

from __future__ import annotations

import re
import uuid
from typing import Any

from qpu_executor.testing.vendor_stand_in.exchange import Answer, Request, Site, atoms_in
from qpu_executor.testing.vendor_stand_in.machine import (
    CANCELLED,
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Job,
)

_STATUS = {
    WAITING: "PENDING",
    RUNNING: "RUNNING",
    DONE: "DONE",
    CANCELLED: "CANCELED",
    FAILED: "ERROR",
}


def answer(site: Site, request: Request) -> Answer | None:
    """Sessions, jobs, the device, and whether it is accessible."""
    if request.path == "/accessible":
        said = "ready" if site.accessible else "closed for maintenance"
        return Answer({"is_accessible": site.accessible, "message": said})
    if not re.match(r"/(sessions|jobs|qpu)\b", request.path):
        return None
    if not request.headers.get("x-munge-cred"):
        return Answer({"detail": "no credential"}, 401)
    if request.path == "/qpu/specs":
        return Answer({"specs": site.device_json})
    if request.path.startswith("/sessions"):
        return _sessions(site, request)
    if request.path == "/jobs" and request.method == "POST":
        return _create(site, request)
    found = re.fullmatch(r"/jobs/(\d+)(/\w+)?", request.path)
    if found is None:
        return None
    job = site.machine.find(found[1])
    if job is None:
        return Answer({"detail": f"no job {found[1]}"}, 404)
    match found[2]:
        case "/cancel":
            site.machine.cancel(job)
        case "/logs":
            return Answer({"logs": f"job {job.number}: {job.state}"})
    return Answer(_job(job))


def _sessions(site: Site, request: Request) -> Answer:
    if request.method == "POST":
        session = str(uuid.uuid4())
        site.sessions.add(session)
        return Answer({"id": session})
    session = request.path.rpartition("/")[2]
    site.sessions.discard(session)
    return Answer({"id": session})


def _create(site: Site, request: Request) -> Answer:
    if request.headers.get("x-warden-session") not in site.sessions:
        return Answer({"detail": "the session is closed or unknown"}, 403)
    wanted = request.json()
    atoms = atoms_in(wanted.get("sequence", "")) if isinstance(wanted, dict) else None
    if atoms is None:
        return Answer({"detail": "the sequence can't be read"}, 422)
    return Answer(_job(site.machine.take(int(wanted["shots"]), atoms)))


def _job(job: Job) -> dict[str, Any]:
    import json

    results = json.dumps({"counter": job.counts}) if job.state == DONE else None
    return {"id": job.number, "user_id": "0", "status": _STATUS[job.state], "results": results}
