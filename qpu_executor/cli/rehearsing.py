"""What `qpu simulate` and `qpu replay` share: policies by name, playing, and showing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from qpu_executor.cli.server_parts import build_scheduler
from qpu_executor.errors import ConfigError
from qpu_executor.manager.service.policies import known_policies
from qpu_executor.nearest import did_you_mean
from qpu_executor.settings import PolicySettings, SiteSettings
from qpu_executor.simulation.gantt import LONGEST_S
from qpu_executor.simulation.grid import Cell, Setting, cells, play
from qpu_executor.simulation.page import html
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.report import markdown
from qpu_executor.simulation.results import Results, gather
from qpu_executor.simulation.shipped import TITLES

MOST_PROCESSES = 2
"""By default; more only help where as many cores are idle."""


def policies(
    settings: SiteSettings, asked: Iterable[str] | None, baselines: Mapping[str, Policy]
) -> tuple[Policy, ...]:
    """Those asked for, each once; by default the baselines and the site's own, which is the last.

    Raises ConfigError for a name that nobody has.
    """
    names = dict.fromkeys(asked or (*baselines, settings.policy.kind))
    return tuple(baselines.get(name) or _of_site(settings, name, baselines) for name in names)


def _of_site(settings: SiteSettings, name: str, baselines: Iterable[str]) -> Policy:
    """A core with the site's rules, ordered by the site's policy or by another installed one.

    Built once here, so that what is wrong with it is said before the rehearsal starts.
    """
    installed = known_policies()
    if name not in installed:
        raise unknown_policy(name, [*sorted(installed), *baselines])
    own = name == settings.policy.kind
    chosen = settings.policy if own else PolicySettings(kind=name)
    build_scheduler(settings, chosen)
    title = TITLES.get(name, "a policy of another package")
    title = f"{title}; as the site file sets it" if own else title
    return Policy(name, title, partial(build_scheduler, settings, chosen))


def unknown_policy(name: str, known: list[str]) -> ConfigError:
    """For a policy that nobody has (for the caller to raise)."""
    return ConfigError(
        f"there is no policy '{name}'{did_you_mean(name, known)}",
        expected=f"one of {', '.join(known)}",
    )


def rehearse(
    setting: Setting, title: str, seeds: range, processes: int | None, *, with_spans: bool
) -> Results:
    """Play everything. `with_spans`: record what the QPUs did on the first seed."""
    spans_seed = seeds.start if with_spans else None
    todo = cells(setting, seeds, spans_seed=spans_seed, spans_until_s=LONGEST_S)
    if processes is None:
        processes = min(MOST_PROCESSES, os.cpu_count() or 1, len(todo))
    played = _with_progress(play(setting, todo, processes), len(todo))
    scenarios = gather(setting, seeds, played)
    titles = {one.name: one.title for one in setting.policies}
    return Results(title, tuple(seeds), titles, scenarios)


def show(results: Results, tested: str, page: Path | None, *, as_json: bool) -> None:
    """Print the figures, and write the page. `tested`: the policy that it draws job by job."""
    if page is not None:
        try:
            page.write_text(html(results, tested), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{page}: can't be written: {error.strerror}") from None
    if as_json:
        print(json.dumps(results.document(), indent=2))
    else:
        print(markdown(results), end="")


def _with_progress(
    played: Iterator[tuple[Cell, RunRecord]], total: int
) -> Iterator[tuple[Cell, RunRecord]]:
    """Count on standard error, where a person looks at it."""
    told = sys.stderr.isatty()
    for n, one in enumerate(played, start=1):
        if told:
            print(f"\rrehearsals: {n} of {total}", end="", file=sys.stderr, flush=True)
        yield one
    if told:
        print(file=sys.stderr)
