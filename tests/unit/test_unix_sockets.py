"""Unix sockets to listen on: paths that can't be, dead ones, and who may connect."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.unix_sockets import MAX_SOCKET_PATH, listen_on


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    with TemporaryDirectory() as name:
        yield Path(name)


def test_one_that_a_killed_process_left_is_replaced(short: Path) -> None:
    path = short / "s"
    listen_on(path, where="listen", backlog=1).close()
    assert path.exists()
    with closing(listen_on(path, where="listen", backlog=1)) as found:
        assert not found.getblocking()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_one_where_somebody_answers_is_refused_and_left_alone(short: Path) -> None:
    path = short / "s"
    with closing(listen_on(path, where="listen", backlog=2)):
        with pytest.raises(ConfigError, match="another process listens") as caught:
            listen_on(path, where="listen", backlog=2)
        assert (caught.value.where, caught.value.next_step) == ("listen", "stop it first")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_a_file_is_no_socket_and_stays(short: Path) -> None:
    path = short / "s"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is no socket"):
        listen_on(path, where="listen", backlog=1)
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long_is_told_with_the_limit(short: Path) -> None:
    path = short / ("x" * MAX_SOCKET_PATH)
    with pytest.raises(ConfigError, match="too long") as caught:
        listen_on(path, where="listen", backlog=1)
    assert caught.value.expected == f"at most {MAX_SOCKET_PATH} bytes"


def test_a_directory_that_isn_t_there_is_told(short: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        listen_on(short / "none" / "s", where="listen", backlog=1)


@pytest.mark.parametrize(("owner_only", "mode"), [(True, 0o600), (False, 0o777)])
def test_its_owner_alone_connects_where_that_is_asked(
    short: Path, owner_only: bool, mode: int
) -> None:
    path = short / "s"
    before = os.umask(0)
    try:
        with closing(listen_on(path, where="listen", backlog=1, owner_only=owner_only)):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0) == 0, "put back"
    finally:
        os.umask(before)
