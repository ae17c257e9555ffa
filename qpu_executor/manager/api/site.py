"""Routes about the site: the manager, QPUs, job classes."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from fastapi import APIRouter

from qpu_executor import __version__
from qpu_executor.installed import versions
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.parameters import QpuName
from qpu_executor.manager.api.qpu_views import Surroundings, qpu_fields, qpu_out
from qpu_executor.manager.api.views import moment
from qpu_executor.manager.service.clock import ahead_of_host_s
from qpu_executor.wire.site import (
    HealthOut,
    JobClassList,
    JobClassOut,
    QpuDetail,
    QpuList,
)
from qpu_executor.wire.versions import SPOKEN

router = APIRouter(prefix="/v1")


@router.get("/health", tags=["manager"])
async def health(asked: Asked) -> HealthOut:
    """Who answers, and whom it takes the caller for."""
    manager = asked.manager
    return HealthOut(
        version=__version__,
        api_versions=list(SPOKEN),
        instance=manager.instance,
        embedded=asked.embedded,
        host=socket.gethostname(),
        caller=asked.caller.name,
        cursor=manager.broadcast.newest,
        now=moment(manager.clock.now()),
        versions=dict(versions()),
        host_now=datetime.now(UTC),
        clock_ahead_s=ahead_of_host_s(manager.clock),
        session_leases=True,
    )


@router.get("/qpus", tags=["qpus"])
async def qpus(asked: Asked) -> QpuList:
    """All QPUs of the site."""
    manager = asked.manager
    around = surroundings(asked)
    return QpuList(
        qpus=[qpu_out(qpu, manager.scheduler.qpu(qpu.name), around) for qpu in manager.fleet]
    )


@router.get("/qpus/{name}", tags=["qpus"])
async def qpu(asked: Asked, name: QpuName) -> QpuDetail:
    """One QPU with its device, as programs have to be built for it."""
    found = asked.manager.fleet.get(name)
    fields = qpu_fields(found, asked.manager.scheduler.qpu(name), surroundings(asked))
    return QpuDetail.model_validate(fields | {"pulser_device": found.description.pulser_device})


@router.get("/classes", tags=["qpus"])
async def classes(asked: Asked) -> JobClassList:
    """All job classes, the most urgent first."""
    admission = asked.manager.admission
    return JobClassList(
        classes=[
            JobClassOut(
                name=one.name,
                priority=one.priority,
                chunk_s=one.chunk_s,
                max_shots=one.max_shots,
                description=one.description,
                default=one.name == admission.default_class,
                qpus=None if one.qpus is None else list(one.qpus),
                fallback=list(one.fallback),
                max_queued=one.max_queued,
                max_running=one.max_running,
                qpu_s_per_day=one.qpu_s_per_day,
                min_share=one.min_share,
                allowed=admission.rights.may_use(asked.caller, one.name),
            )
            for one in admission.classes.values()
        ]
    )


def surroundings(asked: Context) -> Surroundings:
    """What the QPUs of one answer share; the caller's own live tasks among it."""
    manager = asked.manager
    sight = asked.sight
    own = (row.id for row in manager.live.values() if sight.operator or row.owner == sight.name)
    return Surroundings(
        now=manager.clock.now(),
        own_tasks=frozenset(own),
        classes=tuple(manager.admission.classes.values()),
        windows=tuple(manager.windows.listed()),
        sight=sight,
    )
