"""The manager is killed with -9 hundreds of times, before a controller that fails in every way.

QPU_FAULT_SEED repeats a plan (it is in each test's name), QPU_FAULT_KILLS says how many kills
a history has at least. What holds afterwards: `qpu_executor/testing/fault_matrix/checking.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from qpu_executor.testing.fault_matrix.checking import violations
from qpu_executor.testing.fault_matrix.commanded import QpuServe
from qpu_executor.testing.fault_matrix.forked import NurseryProcess
from qpu_executor.testing.fault_matrix.history import CREATED, History
from qpu_executor.testing.fault_matrix.site import Place
from qpu_executor.testing.fault_matrix.weather import WEATHERS, Weather

SEED = int(os.environ.get("QPU_FAULT_SEED", "1"))
KILLS = int(os.environ.get("QPU_FAULT_KILLS", "8"))
USERS = (None, 65534) if os.geteuid() == 0 else (None,)
BY_NAME = {one.name: one for one in WEATHERS}

pytestmark = pytest.mark.timeout(600)

TWICE_OR_UNSAVED = (
    "though the controller knows it",
    "still ran",
    "the store has never heard of",
)

both = ("sqlite", "postgresql")

Place_ = Callable[..., Place]


def lived_through(history: History, kills: int) -> None:
    """Live through it, and find nothing wrong."""
    weather = history.story.weather
    try:
        evidence = history.run(kills)
    finally:
        print(history.story)  # noqa: T201 (the seed, and where the kills landed)
    assert history.story.ended_badly == []
    assert violations(evidence, weather) == []
    assert len(evidence.tasks) >= kills
    assert 2 * history.story.between >= len(history.story.kills)


@pytest.mark.faults
@pytest.mark.parametrize("engine", both)
@pytest.mark.parametrize("seed", [SEED], ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("weather", WEATHERS, ids=lambda weather: weather.name)
def test_every_shot_counts_once_whatever_fails_and_whenever_the_manager_dies(
    nursery: NurseryProcess, place: Place_, weather: Weather, seed: int
) -> None:
    lived_through(History(nursery, place(), weather, seed + hash_of(weather), users=USERS), KILLS)


@pytest.mark.faults
@pytest.mark.parametrize("engine", both)
@pytest.mark.parametrize("seed", [SEED], ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("name", ["calm", "posts-dropped", "forgets"])
def test_where_only_an_operator_says_that_a_chunk_is_lost(
    nursery: NurseryProcess, place: Place_, name: str, seed: int
) -> None:
    lived_through(History(nursery, place(gives_up=False), BY_NAME[name], seed, users=USERS), KILLS)


@pytest.mark.faults
@pytest.mark.parametrize("engine", both)
@pytest.mark.parametrize("seed", [SEED], ids=lambda seed: f"seed{seed}")
def test_the_same_with_the_command_itself(
    nursery: NurseryProcess, place: Place_, seed: int
) -> None:
    here = place()
    history = History(nursery, here, BY_NAME["calm"], seed, users=USERS, start=QpuServe(here))
    lived_through(history, 4)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("name", ["calm", "acknowledgements-lost", "forgets"])
def test_a_sample(nursery: NurseryProcess, place: Place_, name: str) -> None:
    lived_through(History(nursery, place(), BY_NAME[name], 1, users=USERS), 6)


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("mutant", ["never-asks", "sends-before-it-saves"])
def test_a_manager_that_is_wrong_on_purpose_is_found_out(
    nursery: NurseryProcess, place: Place_, mutant: str
) -> None:
    found: list[str] = []
    for seed in range(3, 9):  # where a kill lands is chance: one history may miss the mistake
        points = (CREATED, "answered")
        history = History(nursery, place(), BY_NAME["calm"], seed, mutant=mutant, points=points)
        found += violations(history.run(3), BY_NAME["calm"])
        if any(words in one for one in found for words in TWICE_OR_UNSAVED):
            return
    pytest.fail(f"nobody noticed: {found}")


def hash_of(weather: Weather) -> int:
    """Another plan for each weather."""
    return 1000 * WEATHERS.index(weather)
