"""Starting, sharing and ending an embedded manager, with a stand-in for the child process."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpu_executor.client import embedded, embedded_places
from qpu_executor.errors import (
    ManagerUnreachable,
    OperatorError,
    StoreError,
)

GOOD = """
import json, os, sys, select
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("hello from the child", flush=True)
os.write(int(a["--ready-fd"]), json.dumps({"url": "unix://" + a["--socket"]}).encode() + b"\\n")
select.select([int(a["--owner-fd"])], [], [])
"""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The child's program as `python -c`; tests may replace the text in place."""
    program = [GOOD]
    real = embedded.EmbeddedManager._command

    def command(self: embedded.EmbeddedManager, ready_fd: int, owner_fd: int) -> list[str]:
        words = real(self, ready_fd, owner_fd)
        assert words[1:5] == ["-m", "qpu_executor.cli.main", "serve", "--embedded"]
        return [sys.executable, "-c", program[0], *words[5:]]

    monkeypatch.setattr(embedded.EmbeddedManager, "_command", command)
    return program


def _alive(manager: embedded.EmbeddedManager) -> bool:
    return manager.ended() is None


@pytest.mark.usefixtures("child")
def test_connections_of_one_directory_share_a_child_that_ends_with_the_last(tmp_path):
    first = embedded.acquire(tmp_path / "run")
    second = embedded.acquire(tmp_path / "run")
    other = embedded.acquire(tmp_path / "other")
    assert first is second
    assert other is not first
    embedded.release(other)
    embedded.release(first)
    assert _alive(second)
    embedded.release(second)
    assert isinstance(second.ended(), ManagerUnreachable)
    assert "hello from the child" in (tmp_path / "run" / "manager.log").read_text()


@pytest.mark.usefixtures("child")
def test_the_socket_is_short_and_in_a_private_directory_that_goes_away(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 200)))
    manager = embedded.acquire(tmp_path)
    socket = Path(manager.url.removeprefix("unix://"))
    assert len(os.fsencode(socket)) < 108
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    embedded.release(manager)
    assert not socket.parent.exists()


def test_two_owners_without_a_directory_get_a_place_each(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first, second = embedded_places.find(None), embedded_places.find(None)
    assert [place.directory.name for place in (first, second)] == ["embedded-1", "embedded-2"]
    first.release()
    third = embedded_places.find(None)
    assert third.directory == first.directory
    second.release()
    third.release()


def test_a_child_that_says_why_it_cannot_start_is_quoted(child, tmp_path):
    child[0] = GOOD.replace(
        '{"url": "unix://" + a["--socket"]}',
        '{"error": {"code": "store-error", "detail": "in use", "where": "x", "status": 500}}',
    )
    with pytest.raises(StoreError, match="x: in use"):
        embedded.acquire(tmp_path)


def test_a_child_that_dies_at_its_start_is_an_error_with_the_end_of_its_log(child, tmp_path):
    (tmp_path / "manager.log").write_text("an older run\n")
    child[0] = "import sys; print('no such option', file=sys.stderr); sys.exit(2)"
    with pytest.raises(OperatorError, match="no such option") as caught:
        embedded.acquire(tmp_path)
    assert "an older run" not in str(caught.value)
    assert "manager.log" in str(caught.value)


def test_a_child_that_died_is_reported_and_replaced_at_the_next_connection(child, tmp_path):
    child[0] = GOOD.replace("select.select", "os.abort() #")
    dead = embedded.acquire(tmp_path)
    assert dead._process is not None
    dead._process.wait(60)
    assert "ended by signal 6" in str(dead.ended())
    child[0] = GOOD
    living = embedded.acquire(tmp_path)
    assert living is not dead
    embedded.release(dead)
    assert _alive(living)
    embedded.release(living)


def test_a_missing_extra_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "NEEDED", ("json", "no_such_package_anywhere"))
    with pytest.raises(OperatorError, match=r"pip install 'qpu-executor\[server,emulator\]'"):
        embedded.acquire(tmp_path)


def test_a_directory_that_cannot_be_made_is_an_operators_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="no place for an embedded manager"):
        embedded_places.find(tmp_path / "file" / "under")


@pytest.fixture
def runtime() -> Iterator[str]:
    """A short directory for sockets, which takes along what a killed owner leaves."""
    directory = tempfile.mkdtemp()
    yield directory
    shutil.rmtree(directory)


def test_an_owner_that_exits_or_is_killed_leaves_no_child(tmp_path, runtime):
    for ending in ("", "os.kill(os.getpid(), 9)"):
        # The child holds the write end, and with it this test, for as long as it lives.
        read, write = os.pipe()
        script = textwrap.dedent(
            f"""
            import os, sys
            from dataclasses import replace
            from pathlib import Path
            from qpu_executor.client import embedded, embedded_places
            real, find = embedded.EmbeddedManager._command, embedded_places.find
            embedded.EmbeddedManager._command = lambda self, r, o: [
                sys.executable, "-c", {GOOD!r}, *real(self, r, o)[5:]]
            embedded_places.find = lambda key: replace(find(key), held_fds=({write},))
            manager = embedded.acquire(Path({str(tmp_path)!r}))
            os.write({write}, b"x")
            {ending}
            """
        )
        environment = os.environ | {"XDG_RUNTIME_DIR": runtime}
        owner = subprocess.Popen([sys.executable, "-c", script], pass_fds=(write,), env=environment)
        os.close(write)
        owner.wait(60)
        assert os.read(read, 1) == b"x"
        assert os.read(read, 1) == b""
        os.close(read)
