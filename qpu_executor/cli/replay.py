"""`qpu replay`: rehearse another policy on what a manager's journal says was submitted.

The rehearsal is imported when the verb runs, so that other verbs start without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qpu_executor.cli.rehearsal_options import (
    FiguresOption,
    PageOption,
    PolicyOption,
    ProcessesOption,
)
from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean

if TYPE_CHECKING:
    from qpu_executor.settings import SiteSettings
    from qpu_executor.simulation.recording import Recording


def replay(
    store: Annotated[Path, typer.Argument(help="A manager's store (SQLite), or a copy of it.")],
    site: Annotated[Path, typer.Option(help="The site file that is rehearsed.")],
    policy: PolicyOption = None,
    page: PageOption = None,
    processes: ProcessesOption = None,
    as_json: FiguresOption = False,
) -> None:
    """Rehearse a policy on a recorded load: what was submitted, after what, and closed when."""
    from qpu_executor.cli.rehearsed_site import recorded_site
    from qpu_executor.cli.rehearsing import policies, rehearse, show
    from qpu_executor.cli.server_parts import missing_server_extra
    from qpu_executor.settings import read_site
    from qpu_executor.simulation.baselines import BASELINES, EXCLUSIVE
    from qpu_executor.simulation.grid import Setting
    from qpu_executor.simulation.scenario import Scenario
    from qpu_executor.simulation.workload import WorkloadModel

    missing_server_extra()
    settings = read_site(site)
    rehearsed, recording = recorded_site(settings, _recording(store, settings))
    # A journal tells tasks and sessions, not the jobs to which a QPU could be given for life.
    baselines = {name: one for name, one in BASELINES.items() if one is not EXCLUSIVE}
    chosen = policies(settings, policy, baselines)
    title = f"Replay of {store.name}"
    scenario = Scenario(store.stem, title, WorkloadModel(), rehearsed, recording=recording)
    setting = Setting((scenario,), chosen)
    results = rehearse(setting, title, range(1), processes, with_spans=page is not None)
    show(results, chosen[-1].name, page, as_json=as_json)


def _recording(store: Path, settings: SiteSettings) -> Recording:
    """Raises ConfigError where there is nothing to play, or a class that the site doesn't have."""
    from qpu_executor.manager.store.journal_file import read_chunk_qpus, read_journal
    from qpu_executor.simulation.recording import JournalEntry
    from qpu_executor.simulation.recording_reader import read_recording

    entries = (
        JournalEntry(row.at, row.kind, row.task_id, row.state, row.data)
        for row in read_journal(store)
    )
    recording = read_recording(entries, read_chunk_qpus(store))
    if not recording.tasks:
        raise ConfigError(f"{store}: no task was ever submitted to this store")
    for name in dict.fromkeys(task.spec.job_class for task in recording.tasks):
        if name not in settings.job_classes:
            raise ConfigError(
                f"{store}: it has tasks of class '{name}', and the site has no such class"
                f"{did_you_mean(name, settings.job_classes)}",
                next_step="add the class to the site file",
            )
    return recording
