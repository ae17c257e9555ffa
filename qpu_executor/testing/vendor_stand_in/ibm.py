"""IBM's API, as far as QRMI 0.26 uses it: samplers and their samples.

It is that of the Quantum Compute Service, and of the older Qiskit Runtime Service.
"""

from __future__ import annotations

import re
from itertools import chain, repeat
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
    WAITING: "Queued",
    RUNNING: "Running",
    DONE: "Completed",
    CANCELLED: "Cancelled",
    FAILED: "Failed",
}
_BITS = 2


def answer(site: Site, request: Request) -> Answer | None:
    """Tokens, the backend, and jobs."""
    if request.path == "/identity/token":
        return Answer({"access_token": site.token, "expires_in": 3600, "expiration": 9999999999})
    if not request.path.startswith("/api/v1/"):
        return None
    if request.headers.get("authorization") != f"Bearer {site.token}":
        return _fail(401, "the token is expired or wrong")
    path = request.path.removeprefix("/api/v1")
    if path == "/backends":
        return Answer({"devices": [_backend(site)]})
    if path.endswith("/status"):
        said = "active" if site.accessible else "maintenance"
        return Answer({"state": site.accessible, "status": said, "length_queue": 0})
    if path.startswith("/backends/"):
        return Answer({"backend_name": "ibm_stand_in", "n_qubits": _BITS})
    if path == "/jobs":
        return _create(site, request) if request.method == "POST" else _waiting(site)
    found = re.fullmatch(r"/jobs/([\w-]+)(/\w+)?", path)
    job = None if found is None else site.machine.find(found[1])
    if found is None or job is None:
        return _fail(404, "Job not found.")
    match found[2]:
        case "/cancel":
            site.machine.cancel(job)
            return Answer("", 204, "text/plain")
        case "/results":
            return Answer(_samples(job), kind="text/plain")
    return Answer(_job(job))


def _create(site: Site, request: Request) -> Answer:
    wanted = request.json()
    pubs = wanted.get("params", {}).get("pubs") if isinstance(wanted, dict) else None
    if not isinstance(pubs, list) or len(pubs) != 1 or len(pubs[0]) != 3:
        return _fail(400, "params.pubs must hold one PUB with shots")
    job = site.machine.take(int(pubs[0][2]), _BITS)
    return Answer({"id": job.id, "backend": "ibm_stand_in"})


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "backend": "ibm_stand_in",
        "status": _STATUS[job.state],
        "state": {"status": _STATUS[job.state]},
        "created": stamp(job.created_at),
        "program": {"id": "sampler"},
        "params": {},
        "cost": 100,
    }


def _samples(job: Job) -> str:
    import json

    samples = chain.from_iterable(
        repeat(hex(int(bits, 2)), times) for bits, times in job.counts.items()
    )
    data = {"c": {"samples": list(samples), "num_bits": _BITS}}
    return json.dumps({"results": [{"data": data, "metadata": {}}], "metadata": {"version": 2}})


def _backend(site: Site) -> dict[str, Any]:
    name = "online" if site.accessible else "offline"
    return {
        "name": "ibm_stand_in",
        "status": {"name": name, "reason": "available" if site.accessible else "maintenance"},
        "queue_length": 0,
        "qubits": _BITS,
        "is_simulator": False,
        "processor_type": {"family": "stand-in", "revision": "1"},
    }


def _waiting(site: Site) -> Answer:
    waiting = [_job(one) for one in site.machine.jobs() if one.state == WAITING]
    return Answer({"jobs": waiting, "count": len(waiting), "limit": 200, "offset": 0})


def _fail(status: int, message: str) -> Answer:
    return Answer({"errors": [{"code": status, "message": message}]}, status)
