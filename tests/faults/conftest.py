"""Stores of each engine, and one nursery for each process of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qpu_executor.testing.fault_matrix.forked import NurseryProcess
from qpu_executor.testing.fault_matrix.site import Place, free_url


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NurseryProcess]:
    process = NurseryProcess(tmp_path_factory.mktemp("nursery") / "nursery.log")
    process.start()
    yield process
    process.close()


@pytest.fixture
def place(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Place]:
    """Makes a directory with an empty store of the test's `engine`."""
    made: list[Place] = []

    def make(*, gives_up: bool = True) -> Place:
        directory = tmp_path / f"place{len(made)}"
        directory.mkdir()
        if engine == "sqlite":
            store = str(directory / "store.sqlite")
        else:
            store = request.getfixturevalue("postgres").new_database()
        made.append(Place(directory, store, free_url(), gives_up=gives_up))
        return made[-1]

    return make
