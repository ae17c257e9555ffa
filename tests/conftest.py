"""A real manager in a process of its own, as a site runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpu_executor.client import Client, connect
from qpu_executor.testing.munged import Munged
from qpu_executor.testing.postgres import Postgres


def pytest_configure() -> None:
    """Ctrl-C means Ctrl-C, also where the tests run in the background.

    A shell starts background commands with SIGINT ignored; that is inherited, and then
    neither these tests nor the commands that they start could be interrupted.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


SITE = """
manager:
  listen: {listen}
  store: store.sqlite
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""


class ServedManager:
    """`qpu serve` on a site file of its own; can be killed and started again.

    `site`: the site file's text, with `{listen}` where the addresses go. `options`: more of
    the command's.
    """

    options: tuple[str, ...] = ()

    def __init__(
        self, directory: Path, listen: str | list[str] | None = None, site: str = SITE
    ) -> None:
        self.directory = directory
        self.store = directory / "store.sqlite"
        listen = listen or f"unix://{directory}/m.sock"
        self._listen = [listen] if isinstance(listen, str) else listen
        self._site = directory / "site.yaml"
        self._text = site
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *options: str) -> str:
        """Start it, with more options of `qpu serve`, and wait until it listens; its URL."""
        self._site.write_text(self._text.format(listen=json.dumps(self._listen)))
        ready, ready_child = os.pipe()
        with (self.directory / "manager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "qpu_executor.cli.main", "serve"),
                    *("--site", str(self._site), "--ready-fd", str(ready_child)),
                    *self.options,
                    *options,
                ],
                stdout=log,
                stderr=log,
                pass_fds=(ready_child,),
            )
        os.close(ready_child)
        with os.fdopen(ready) as pipe:
            said = json.loads(pipe.readline() or "{}")
        assert "url" in said, (said, (self.directory / "manager.log").read_text())
        self.url = said["url"]
        return self.url

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def connect(self) -> Client:
        """A client of its own."""
        return connect(self.url, wait_s=30)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.directory / "manager.log").read_text()

    def close(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def make_manager(tmp_path: Path) -> Iterator[Callable[..., ServedManager]]:
    """Makes managers (not started) in directories of their own."""
    made: list[ServedManager] = []

    def make(listen: str | list[str] | None = None, site: str = SITE) -> ServedManager:
        directory = tmp_path / f"m{len(made)}"
        directory.mkdir()
        made.append(ServedManager(directory, listen, site))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def served(make_manager: Callable[..., ServedManager]) -> ServedManager:
    """A running manager of this test's own."""
    manager = make_manager()
    manager.start()
    return manager


@pytest.fixture(scope="module")
def make_shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ServedManager]]:
    """Makes running managers that the tests of a module share."""
    made: list[ServedManager] = []

    def make(listen: str | None = None, site: str = SITE) -> ServedManager:
        made.append(ServedManager(tmp_path_factory.mktemp("made"), listen, site))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedManager]:
    """A running manager that the tests of a module share."""
    manager = ServedManager(tmp_path_factory.mktemp("manager"))
    try:
        manager.start()
        yield manager
    finally:
        manager.close()


@pytest.fixture(scope="module")
def tcp_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedManager]:
    """A running manager that listens on a TCP port of this host."""
    manager = ServedManager(tmp_path_factory.mktemp("tcp"), "http://127.0.0.1:0")
    try:
        manager.start()
        yield manager
    finally:
        manager.close()


@pytest.fixture(scope="session")
def munged_installed() -> None:
    """Skips where there is no munged; with QPU_EXECUTOR_ALL_TESTS set, that is a failure."""
    if Munged.installed():
        return
    assert not os.environ.get("QPU_EXECUTOR_ALL_TESTS"), "munged isn't installed"
    pytest.skip("munged isn't installed (apt-get install munge)")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Skips where there is none; with QPU_EXECUTOR_ALL_TESTS set, that is a failure."""
    if not Postgres.installed():
        assert not os.environ.get("QPU_EXECUTOR_ALL_TESTS"), "PostgreSQL isn't installed"
        pytest.skip("PostgreSQL isn't installed (apt-get install postgresql)")
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL that the tests share; each makes databases of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A running PostgreSQL of this test's own, which it may stop and kill."""
    with running_postgres() as server:
        yield server
