"""`qpu replay`: rehearse another policy on what a manager's journal says was submitted.

The rehearsal is imported when the verb runs, so that other verbs start without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean

if TYPE_CHECKING:
    from qpu_executor.settings import SiteSettings
    from qpu_executor.simulation.engine import SimulatedSite
    from qpu_executor.simulation.recording import Recording


def replay(
    store: Annotated[Path, typer.Argument(help="A manager's store (SQLite), or a copy of it.")],
    site: Annotated[Path, typer.Option(help="The site file that is rehearsed.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy to compare; may be repeated. Default: the site's, and the baselines.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with pictures there.", show_default=False),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Rehearsals at once. Default: 2, or 1 on one core.", min=1, max=64),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Rehearse a policy on a recorded load: what was submitted, after what, and closed when."""
    from qpu_executor.cli.rehearsing import policies, rehearse, show
    from qpu_executor.cli.server_parts import missing_server_extra
    from qpu_executor.settings import read_site
    from qpu_executor.simulation.baselines import BASELINES, EXCLUSIVE
    from qpu_executor.simulation.grid import Setting
    from qpu_executor.simulation.scenario import Scenario
    from qpu_executor.simulation.workload import WorkloadModel

    missing_server_extra()
    settings = read_site(site)
    recording = _recording(store, settings)
    # A journal tells tasks and sessions, not the jobs to which a QPU could be given for life.
    baselines = {name: one for name, one in BASELINES.items() if one is not EXCLUSIVE}
    chosen = policies(settings, policy, baselines)
    title = f"Replay of {store.name}"
    scenario = Scenario(
        store.stem, title, WorkloadModel(), _site(settings, recording), recording=recording
    )
    setting = Setting((scenario,), chosen)
    results = rehearse(setting, title, range(1), processes, with_spans=page is not None)
    show(results, chosen[-1].name, page, as_json=as_json)


def _recording(store: Path, settings: SiteSettings) -> Recording:
    """Raises ConfigError where there is nothing to play, or a class that the site doesn't have."""
    from qpu_executor.manager.store.journal_file import read_journal
    from qpu_executor.simulation.recording import JournalEntry, read_recording

    recording = read_recording(
        JournalEntry(row.at, row.kind, row.task_id, row.state, row.data)
        for row in read_journal(store)
    )
    if not recording.tasks:
        raise ConfigError(f"{store}: no task was ever submitted to this store")
    for name in dict.fromkeys(task.job_class for task in recording.tasks):
        if name not in settings.job_classes:
            raise ConfigError(
                f"{store}: it has tasks of class '{name}', and the site has no such class"
                f"{did_you_mean(name, settings.job_classes)}",
                next_step="add the class to the site file",
            )
    return recording


def _site(settings: SiteSettings, recording: Recording) -> SimulatedSite:
    """The site's classes, and the QPUs of the recording as fast as they were."""
    from qpu_executor.simulation.engine import SimulatedSite
    from qpu_executor.simulation.qpu_model import QpuTiming

    timings = tuple(
        QpuTiming(
            qpu,
            setup_s=recording.setup_s,
            resume_s=recording.setup_s,
            calibration=None,
            shot_rate_hz=1.0 / recording.shot_s,
            closings=tuple(
                (one.begins_s, one.lasts_s) for one in recording.closings if one.qpu == qpu
            ),
        )
        for qpu in recording.qpus
    )
    return SimulatedSite(settings.classes(), timings)
