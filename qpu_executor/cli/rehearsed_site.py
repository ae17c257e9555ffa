"""A site's QPUs as a rehearsal needs them: the site file's rules, at the rehearsal's time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time

from qpu_executor.errors import QpuExecutorError
from qpu_executor.model.events import WindowsChanged
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.qpus.base import Capabilities
from qpu_executor.qpus.registry import build_adapter
from qpu_executor.settings import SiteSettings
from qpu_executor.settings.qpus import QpuSettings
from qpu_executor.simulation.engine import SimulatedSite
from qpu_executor.simulation.qpu_model import QpuRules, QpuTiming
from qpu_executor.simulation.recording import Measured, Recording
from qpu_executor.simulation.workload_file import KnownSite

AHEAD_S = 90 * 86_400.0
"""Windows are known this far beyond the time in which tasks come: a rehearsal may take longer."""


def known_site(settings: SiteSettings) -> KnownSite:
    """What a workload file may name of a site, and the rules of its QPUs."""

    def rules(qpu: str, starts_on: str, days: float) -> QpuRules:
        return _rules(settings.qpus[qpu], midnight(starts_on), days * 86_400.0)

    return KnownSite(settings.classes(), tuple(settings.qpus), rules, midnight)


def midnight(day: str) -> Instant:
    """When a day (ISO 8601) begins in UTC. Raises ValueError for no day."""
    begins = datetime.combine(date.fromisoformat(day), time(), tzinfo=UTC)
    return int(begins.timestamp()) * MICROSECONDS


def recorded_site(settings: SiteSettings, recording: Recording) -> tuple[SimulatedSite, Recording]:
    """The site's rules and the QPUs of the recording, as fast as they were.

    A QPU for which the site file says which windows it has (or that it has none) has
    those, on the dates of the recording; any other has those that the journal tells: the
    recording that is returned goes without the rest.
    """
    told = {name for name, one in settings.qpus.items() if "windows" in one.model_fields_set}
    acts = tuple(
        one
        for one in recording.acts
        if not (isinstance(one.event, WindowsChanged) and one.event.qpu in told)
    )
    lasts_s = (recording.end_at - recording.start_at) / MICROSECONDS
    timings = tuple(
        _timing(name, measured, settings.qpus.get(name), recording, lasts_s)
        for name, measured in recording.qpus.items()
    )
    site = SimulatedSite(settings.classes(), timings, recording.start_at)
    return site, replace(recording, acts=acts)


def _timing(
    name: str,
    measured: Measured,
    settings: QpuSettings | None,
    recording: Recording,
    lasts_s: float,
) -> QpuTiming:
    can = None if settings is None else _capabilities(name, settings)
    rules = QpuRules()
    if settings is not None:
        rules = _rules(settings, recording.start_at, lasts_s)
    return QpuTiming(
        name,
        setup_s=measured.switch_s,
        resume_s=measured.switch_s,
        chunk_s=measured.setup_s,
        layout_s=measured.layout_s,
        calibration=None,
        slots=1 if can is None else can.slots,
        min_chunk_shots=1 if can is None else can.min_chunk_shots,
        max_chunk_shots=None if can is None else can.max_chunk_shots,
        partial_results=True if can is None else can.partial_results,
        shot_rate_hz=1.0 / (measured.shot_s or recording.shot_s),
        rules=rules,
        outages=tuple(one for one in recording.outages if one.qpu == name),
        calibrations=tuple(one for one in recording.calibrations if one.qpu == name),
    )


def _capabilities(name: str, settings: QpuSettings) -> Capabilities | None:
    """As far as the adapter knows them unopened; None for one that can't be built here."""
    try:
        return build_adapter(settings.kind, name, settings.adapter_settings()).capabilities
    except QpuExecutorError:
        return None


def _rules(settings: QpuSettings, start: Instant, lasts_s: float) -> QpuRules:
    """`start`: the instant that is the rehearsal's first."""
    site = settings.site_rules()
    end = start + round((lasts_s + AHEAD_S) * MICROSECONDS)
    windows = [one for rule in site.windows for one in rule.between(start, end)]
    return QpuRules(
        plan=site.plan,
        windows=tuple(sorted(windows, key=lambda one: (one.starts_at, one.name))),
        group_tasks=site.group_tasks,
        group_s=site.group_s,
        max_linger_s=site.max_linger_s,
        max_run_s=site.max_run_s,
        max_run_idle_s=site.max_run_idle_s,
    )
