"""A load, repeatable for every seed: what is rehearsed under each policy."""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.simulation.engine import Rehearsal, SimulatedSite
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.recording import Recording
from qpu_executor.simulation.workload import HybridJob, WorkloadModel, shortest_makespan_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """`batch`: jobs of a closed batch; otherwise `load` and `days` of open arrivals.

    With a `recording` there is nothing to draw: every seed plays it.
    """

    name: str
    title: str
    model: WorkloadModel
    site: SimulatedSite
    batch: int | None = None
    load: float = 0.0
    days: float = 0.0
    recording: Recording | None = None

    def jobs(self, seed: int) -> list[HybridJob]:
        """The jobs of a seed: the same under every policy."""
        if self.batch is not None:
            return self.model.closed(seed, self.batch)
        return self.model.open(seed, self.load, self.days)

    def rehearse(self, policy: Policy, seed: int, *, spans_until_s: float = 0.0) -> RunRecord:
        """Play one seed under one policy. `spans_until_s`: record QPU time up to then."""
        if self.recording is not None:
            return Rehearsal(
                self.recording, policy, self.site, seed, spans_until_s=spans_until_s
            ).run()
        jobs = self.jobs(seed)
        record = Rehearsal(jobs, policy, self.site, seed, spans_until_s=spans_until_s).run()
        if self.batch is not None and record.slots == 1:
            setup_s = self.site.setup_s
            record.bound_s = shortest_makespan_s(jobs, setup_s, record.closed_s)
        return record

    def bound(self, seed: int) -> float | None:
        """Utilisation of calibrated time that no schedule exceeds (closed batch on one QPU)."""
        if self.batch is None or len(self.site.qpus) > 1 or self.site.qpus[0].slots > 1:
            return None
        jobs = self.jobs(seed)
        return sum(one.quantum_s for one in jobs) / shortest_makespan_s(jobs, self.site.setup_s)
