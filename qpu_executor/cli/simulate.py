"""`qpu simulate`: rehearse a site's load under several policies, in seconds.

The rehearsal is imported when the verb runs, so that other verbs start without it.
"""

from __future__ import annotations

from dataclasses import replace
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

if TYPE_CHECKING:
    from qpu_executor.simulation.grid import Setting

REFERENCE_SEEDS = 20


def simulate(
    workload: Annotated[
        Path | None,
        typer.Argument(help="The workload file (YAML).", show_default=False),
    ] = None,
    site: Annotated[
        Path | None, typer.Option(help="The site file that is rehearsed.", show_default=False)
    ] = None,
    policy: PolicyOption = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="The reference loads, and what is to be reached.")
    ] = False,
    keep_warm: Annotated[
        bool,
        typer.Option("--keep-warm", help="What keeping the QPU warm for some jobs costs others."),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How many draws of the load. Default: the file's; 20 with --reference.",
            min=1,
            max=1000,
            show_default=False,
        ),
    ] = None,
    first_seed: Annotated[
        int | None,
        typer.Option(help="The first of them. Default: the file's, else 0.", show_default=False),
    ] = None,
    page: PageOption = None,
    processes: ProcessesOption = None,
    as_json: FiguresOption = False,
) -> None:
    """Rehearse a load under several policies: the scheduling core that serves live, faster."""
    from qpu_executor.cli.rehearsing import rehearse, show
    from qpu_executor.simulation.reference import aims

    if reference or keep_warm:
        _refuse_a_load_of_its_own(workload, site, "--reference" if reference else "--keep-warm")
    if reference:
        setting, title, which = _reference(policy)
    elif keep_warm:
        setting, title, which = _keep_warm(policy)
    else:
        setting, title, which = _workload(workload, site, policy)
    start = which.start if first_seed is None else first_seed
    chosen = range(start, start + (len(which) if seeds is None else seeds))
    results = rehearse(setting, title, chosen, processes, with_spans=page is not None)
    tested = setting.policies[-1].name
    if reference:
        results = replace(results, aims=aims(results.scenarios, tested))
    show(results, tested, page, as_json=as_json)


def _refuse_a_load_of_its_own(workload: Path | None, site: Path | None, option: str) -> None:
    if workload is not None or site is not None:
        raise ConfigError(
            f"{option} has loads and a site of its own",
            expected="neither WORKLOAD nor --site with it",
        )


def _keep_warm(policy: list[str] | None) -> tuple[Setting, str, range]:
    """The shipped policies asked for, on the same jobs with and without warm holds."""
    from qpu_executor.cli.rehearsing import unknown_policy
    from qpu_executor.simulation.shipped import BANDED, PRESETS
    from qpu_executor.simulation.think_time import think_time_setting

    names = dict.fromkeys(policy or (BANDED.name,))
    for name in names:
        if name not in PRESETS:
            raise unknown_policy(name, list(PRESETS))
    setting = think_time_setting([PRESETS[name] for name in names])
    return setting, "What keeping the QPU warm costs", range(REFERENCE_SEEDS)


def _reference(policy: list[str] | None) -> tuple[Setting, str, range]:
    """The baselines are always there; the aims are those of the last policy."""
    from qpu_executor.cli.rehearsing import unknown_policy
    from qpu_executor.simulation.baselines import BASELINES
    from qpu_executor.simulation.reference import reference_setting
    from qpu_executor.simulation.shipped import BANDED, PRESETS

    tested = []
    for name in dict.fromkeys(policy or (BANDED.name,)):
        if name not in PRESETS and name not in BASELINES:
            raise unknown_policy(name, [*PRESETS, *BASELINES])
        if name in PRESETS:
            tested.append(PRESETS[name])
    setting = reference_setting(tuple(tested) or (BANDED,))
    return setting, "Reference rehearsal", range(REFERENCE_SEEDS)


def _workload(
    workload: Path | None, site: Path | None, policy: list[str] | None
) -> tuple[Setting, str, range]:
    if workload is None or site is None:
        raise ConfigError(
            "what to rehearse?",
            expected="a workload file and a site file",
            next_step="qpu simulate configs/workloads/hybrid.yaml --site configs/site.yaml,"
            " or qpu simulate --reference",
        )
    from qpu_executor.cli.rehearsed_site import known_site
    from qpu_executor.cli.rehearsing import policies
    from qpu_executor.settings import read_site
    from qpu_executor.simulation.baselines import BASELINES
    from qpu_executor.simulation.grid import Setting
    from qpu_executor.simulation.think_time import beside_gap_filling
    from qpu_executor.simulation.workload_file import read_workload

    settings = read_site(site)
    found, scenario = read_workload(workload, known_site(settings))
    scenarios = beside_gap_filling(scenario)
    setting = Setting(scenarios, policies(settings, policy, BASELINES))
    first = found.first_seed
    return setting, scenario.title, range(first, first + found.seeds)
