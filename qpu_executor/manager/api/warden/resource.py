"""What the path of a request names: a QPU, and the job class of what is submitted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path, Request

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.fleet import Qpu
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.states import QpuState


@dataclass(frozen=True, slots=True)
class Resource:
    """A QPU as QRMI's clients see it. `job_class` None: the session's or the site's."""

    manager: Manager
    qpu: Qpu
    job_class: str | None

    def specs(self) -> str:
        """The device that programs have to be built for. Raises RequestRefused without one."""
        found = self.qpu.description.pulser_device
        if found is None:
            down = self.qpu.health.state is QpuState.DOWN
            raise RequestRefused(
                f"QPU {self.qpu.name} is down: {self.qpu.health.reason}"
                if down
                else f"QPU {self.qpu.name} has no Pulser device, so QRMI's clients can't use it",
                where="qpu",
                next_step="see `qpu info`",
            )
        return found

    def pinned_to(self, session: SessionRow) -> str | None:
        """The QPU that a task asks for; None where its class takes it elsewhere on purpose.

        That is a class that develops for this QPU (`device_of`), and may not use it.
        """
        name, rules = self.qpu.name, self.manager.admission
        job_class = rules.job_class(self.job_class or session.job_class or rules.default_class)
        if job_class.device_of != name or job_class.qpus is None:
            return name
        return name if name in (*job_class.qpus, *job_class.fallback) else None


def resource_of(
    request: Request,
    resource: Annotated[str, Path(description="a QPU's name, or `QPU:CLASS`")],
) -> Resource:
    """The resource of a path, `QPU` or `QPU:CLASS`. Raises RequestRefused."""
    manager: Manager = request.app.state.manager
    name, colon, job_class = resource.partition(":")
    qpu = manager.fleet.get(name)
    return Resource(manager, qpu, manager.admission.job_class(job_class).name if colon else None)
