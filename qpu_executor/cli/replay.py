"""`qpu replay`: rehearse another policy on what a manager's journal says was submitted.

The rehearsal is imported when the verb runs, so that other verbs start without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpu_executor.cli.connecting import say
from qpu_executor.cli.rehearsal_options import (
    FiguresOption,
    PageOption,
    PolicyOption,
    ProcessesOption,
)
from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean

if TYPE_CHECKING:
    from qpu_executor.manager.store.records import JournalRow
    from qpu_executor.model.values import ChunkId
    from qpu_executor.settings import SiteSettings
    from qpu_executor.simulation.recording import Recording


def replay(
    store: Annotated[
        str,
        typer.Argument(help="A manager's store: its file, a copy, postgresql://…, or an export."),
    ],
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
    from qpu_executor.manager.store.address import shown

    settings = read_site(site)
    rehearsed, recording = recorded_site(settings, _recording(store, settings))
    # A journal tells tasks and sessions, not the jobs to which a QPU could be given for life.
    baselines = {name: one for name, one in BASELINES.items() if one is not EXCLUSIVE}
    chosen = policies(settings, policy, baselines)
    named = Path(shown(store))
    title = f"Replay of {named.name}"
    scenario = Scenario(named.stem, title, WorkloadModel(), rehearsed, recording=recording)
    setting = Setting((scenario,), chosen)
    results = rehearse(setting, title, range(1), processes, with_spans=page is not None)
    show(results, chosen[-1].name, page, as_json=as_json)


def _say_missing(dropped: Sequence[Mapping[str, Any]]) -> None:
    """What the rehearsal can't know, since the store keeps it no longer."""
    rows = sum(int(one.get("journal", 0)) for one in dropped)
    tasks = sum(int(one.get("tasks", 0)) for one in dropped)
    if rows:
        say(
            f"{rows} rows of this journal were pruned: what they told isn't rehearsed "
            "(an export can be: qpu replay EXPORT)"
        )
    if tasks:
        say(
            f"the chunks of {tasks} tasks were pruned: those that the journal still tells of are "
            "taken to have run on the first QPU that they could"
        )


def _written(store: str, settings: SiteSettings) -> tuple[Iterator[JournalRow], dict[ChunkId, str]]:
    """The journal, and where each chunk went, of a store or an export. Raises StoreError.

    The password of a database is where the site file says that it is.
    """
    from qpu_executor.manager.store import database_journal, export_file, journal_file
    from qpu_executor.manager.store.address import POSTGRESQL

    if store.startswith(POSTGRESQL):
        of_site = settings.manager.store
        password = None if of_site is None else of_site.password_file
        return (
            database_journal.read_journal(store, password),
            database_journal.read_chunk_qpus(store, password),
        )
    path = Path(store)
    files = export_file if export_file.is_export(path) else journal_file
    return files.read_journal(path), files.read_chunk_qpus(path)


def _recording(store: str, settings: SiteSettings) -> Recording:
    """Raises ConfigError where there is nothing to play, or a class that the site doesn't have."""
    from qpu_executor.manager.store.address import shown
    from qpu_executor.simulation.recording import JournalEntry
    from qpu_executor.simulation.recording_reader import read_recording

    journal, qpus = _written(store, settings)
    dropped: list[Mapping[str, Any]] = []

    def entries() -> Iterator[JournalEntry]:
        for row in journal:
            if row.kind == "Pruned":
                dropped.append(row.data)
            yield JournalEntry(row.at, row.kind, row.task_id, row.state, row.data)

    recording = read_recording(entries(), qpus)
    _say_missing(dropped)
    if not recording.tasks:
        raise ConfigError(f"{shown(store)}: no task was ever submitted to this store")
    for name in dict.fromkeys(task.spec.job_class for task in recording.tasks):
        if name not in settings.job_classes:
            raise ConfigError(
                f"{shown(store)}: it has tasks of class '{name}', and the site has no such class"
                f"{did_you_mean(name, settings.job_classes)}",
                next_step="add the class to the site file",
            )
    return recording
