"""Pasqal Cloud's API, as far as the SDK `pasqal-cloud` 0.24 and QRMI 0.26 use it."""

from __future__ import annotations

import re
from typing import Any

from qpu_executor.testing.vendor_stand_in.exchange import Answer, Request, Site, atoms_in
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
    WAITING: "PENDING",
    RUNNING: "RUNNING",
    DONE: "DONE",
    CANCELLED: "CANCELED",
    FAILED: "ERROR",
}
_DEVICE_TYPES = ("FRESNEL", "EMU_FREE")
_PASSWORD = "stand-in-password"  # noqa: S105  # no secret


def answer(site: Site, request: Request) -> Answer | None:
    """The API, its token endpoint, and the place where results are kept."""
    if request.path == "/oauth/token":
        return _token(site, request)
    if found := re.fullmatch(r"/results/([\w-]+)", request.path):
        job = site.machine.find(found[1])
        return _fail(404, "no such key") if job is None else Answer(_result(job))
    if not request.path.startswith("/core-fast/api/"):
        return None
    path = request.path.removeprefix("/core-fast/api")
    if path == "/v1/devices":
        return _ok([{"status": "UP", "availability": "ACTIVE"}])
    if path == "/v1/devices/public-specs":
        return _ok([_specs(site, "FRESNEL")])
    if request.headers.get("authorization") != f"Bearer {site.token}":
        return _fail(401, "the token is expired or wrong")
    return _authenticated(site, request, path) or _fail(404, f"no route {path}")


def _authenticated(site: Site, request: Request, path: str) -> Answer | None:
    if path == "/v1/devices/specs":
        return _ok(dict.fromkeys(_DEVICE_TYPES, site.device_json))
    if path.startswith("/v1/devices/specs/"):
        return _ok(_specs(site, path.rpartition("/")[2]))
    if path == "/v1/batches":
        return _create(site, request) if request.method == "POST" else _list(site, request)
    if path == "/v2/jobs":
        job = site.machine.find(request.query.get("batch_id", ""))
        return _page([] if job is None else [_job(job)])
    found = re.fullmatch(r"/v[12]/(?:batches|jobs)/([\w-]+?)(?:-job)?(/[\w_]+)?", path)
    if found is None:
        return None
    job = site.machine.find(found[1])
    if job is None:
        return _fail(404, f"there is no batch {found[1]}")
    return _about(site, job, found[2] or "", as_job="/jobs/" in path)


def _about(site: Site, job: Job, what: str, *, as_job: bool) -> Answer | None:
    match what:
        case "":
            return _ok(_job(job) if as_job else _batch(job))
        case "/status":
            return _ok({"id": job.id, "status": _STATUS[job.state]})
        case "/cancel":
            if job.state in (DONE, FAILED):
                return _fail(409, f"the batch is {_STATUS[job.state]}")
            site.machine.cancel(job)
            return _ok(_batch(job))
        case "/results_link":
            link = f"{site.url}/results/{job.id}" if job.state == DONE else None
            return _ok({"results_link": link})
        case "/full_results":
            return _ok({f"{job.id}-job": _result(job)} if job.state == DONE else {})
    return None


def _create(site: Site, request: Request) -> Answer:
    wanted = request.json()
    if not isinstance(wanted, dict) or not wanted.get("project_id"):
        return _fail(400, "no project_id")
    if wanted.get("device_type") not in _DEVICE_TYPES:
        return _fail(422, f"device_type {wanted.get('device_type')!r} isn't known")
    atoms = atoms_in(wanted.get("sequence_builder") or "")
    if atoms is None:
        return _fail(422, "sequence_builder is no sequence")
    runs = [one.get("runs") for one in wanted.get("jobs", [])]
    if len(runs) != 1 or not isinstance(runs[0], int) or runs[0] < 1:
        return _fail(422, f"jobs must be one job with runs, not {runs}")
    job = site.machine.take(
        runs[0],
        atoms,
        wanted.get("tags") or (),
        device_type=wanted["device_type"],
        project_id=wanted["project_id"],
    )
    return _ok(_batch(job))


def _list(site: Site, request: Request) -> Answer:
    jobs = [one for one in site.machine.jobs() if "device_type" in one.extra]
    if "tag" in request.query:
        jobs = [one for one in jobs if request.query["tag"] in one.tags]
    offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
    newest_first = [_batch(one) for one in reversed(jobs)]
    return _page(newest_first[offset : offset + limit], total=len(jobs), offset=offset)


def _token(site: Site, request: Request) -> Answer:
    if f"password={_PASSWORD}".encode() not in request.body:
        return Answer({"error": "invalid_grant", "error_description": "Wrong password."}, 403)
    return Answer({"access_token": site.token, "expires_in": 3600})


def _batch(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "open": False,
        "complete": True,
        "created_at": stamp(job.created_at),
        "updated_at": stamp(job.ended_at or job.started_at or job.created_at),
        "device_type": job.extra.get("device_type", "FRESNEL"),
        "project_id": job.extra.get("project_id", ""),
        "user_id": "someone",
        "status": _STATUS[job.state],
        "tags": list(job.tags),
        "jobs_count": 1,
        "job_ids": [f"{job.id}-job"],
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": f"{job.id}-job",
        "batch_id": job.id,
        "project_id": job.extra.get("project_id", ""),
        "runs": job.shots,
        "status": _STATUS[job.state],
        "created_at": stamp(job.created_at),
        "updated_at": stamp(job.ended_at or job.started_at or job.created_at),
        "start_timestamp": stamp(job.started_at),
        "end_timestamp": stamp(job.ended_at),
        "errors": [job.message] if job.state == FAILED else None,
    }


def _result(job: Job) -> dict[str, Any]:
    return {"counter": job.counts, "raw": []}


def _specs(site: Site, device_type: str) -> dict[str, str]:
    return {"device_type": device_type, "specs": site.device_json}


def _ok(data: Any) -> Answer:
    return Answer({"status": "success", "code": "200", "message": "OK", "data": data})


def _page(data: list[Any], total: int | None = None, offset: int = 0) -> Answer:
    total = len(data) if total is None else total
    pagination = {"total": total, "start": offset, "end": offset + len(data)}
    return Answer(
        {
            "status": "success",
            "code": "200",
            "message": "OK",
            "data": data,
            "pagination": pagination,
        }
    )


def _fail(status: int, message: str) -> Answer:
    return Answer({"status": "fail", "code": str(status), "message": message, "data": None}, status)
