"""The binding of libmunge, against a real munged."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from qpu_executor import munge
from qpu_executor.errors import NotAuthenticated, OperatorError
from qpu_executor.testing.munged import Munged


@pytest.fixture(scope="module")
def munged(munged_installed: None) -> Iterator[Munged]:
    daemon = Munged()
    daemon.start()
    yield daemon
    daemon.close()


def test_credential_names_its_maker_and_carries_its_payload(munged: Munged) -> None:
    made = munge.encode(b"p\0q", socket=munged.socket)
    assert made.startswith("MUNGE:")
    assert munge.decode(made, socket=munged.socket) == munge.Credential(
        os.getuid(), os.getgid(), b"p\0q"
    )


def test_credential_is_taken_once(munged: Munged) -> None:
    made = munge.encode(socket=munged.socket)
    munge.decode(made, socket=munged.socket)
    with pytest.raises(NotAuthenticated, match="EMUNGE_CRED_REPLAYED"):
        munge.decode(made, socket=munged.socket)


@pytest.mark.parametrize(
    "text", ["", "MUNGE:", "x" * 100, "MUNGE:AwQF\0:", "ünge", "MUNGE:" + "A" * 20_000 + ":"]
)
def test_garbage_is_no_credential(munged: Munged, text: str) -> None:
    with pytest.raises(NotAuthenticated):
        munge.decode(text, socket=munged.socket)


def test_credential_of_another_cluster_is_refused(munged: Munged) -> None:
    other = Munged()
    other.start()
    try:
        made = munge.encode(socket=other.socket)
    finally:
        other.close()
    with pytest.raises(NotAuthenticated, match="EMUNGE_CRED_INVALID"):
        munge.decode(made, socket=munged.socket)


def test_expired_credential_says_so(munged: Munged) -> None:
    # A real one, made by the command that a user has: its time to live is the shortest.
    made = subprocess.run(
        ["munge", "-n", "--ttl=1", f"--socket={munged.socket}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Its age is counted in whole seconds of the host's clock: wait for the clock itself.
    start = _second()
    while _second() < start + 3:
        os.sched_yield()
    with pytest.raises(NotAuthenticated, match="EMUNGE_CRED_EXPIRED"):
        munge.decode(made, socket=munged.socket)


def _second() -> int:
    import time

    return int(time.time())


def test_missing_daemon_is_the_operators_to_mend() -> None:
    with pytest.raises(OperatorError, match="EMUNGE_SOCKET"):
        munge.encode(socket="/nonexistent/munge.socket")


def test_what_the_library_allocates_is_freed(munged: Munged) -> None:
    payload = b"x" * 8_000

    def once() -> None:
        munge.decode(munge.encode(payload, socket=munged.socket), socket=munged.socket)

    for _ in range(20):
        once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3000):
        once()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # Leaking either the credential or the payload would be 24 MB and more.
    assert grown_kb < 12_000
