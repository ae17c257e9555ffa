"""Who is asking, over real connections: tokens, MUNGE, TLS, and unsafe files."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpu_executor.client import connect
from qpu_executor.errors import (
    ConfigError,
    ManagerUnreachable,
    NotAllowed,
    NotAuthenticated,
    RequestRefused,
    UnknownTask,
)
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.munged import Munged
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tokens import TokenRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  AUTH
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""

LOOPBACK = "http://127.0.0.1:0"


def site(auth: str) -> str:
    return SITE.replace("AUTH", auth.replace("{", "{{").replace("}", "}}"))


@pytest.fixture
def tokens_taken(make_manager: Callable[..., Any]) -> Any:
    manager = make_manager(listen=LOOPBACK, site=site("authentication: [peer, token]"))
    manager.start()
    return manager


@pytest.fixture
def ada(tokens_taken: Any) -> str:
    """A token of another user."""
    with tokens_taken.connect() as client:
        token: str = client.issue_token(TokenRequest(user="ada")).token
    return token


def test_token_is_another_user_who_sees_only_their_own(
    tokens_taken: Any, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = to_program(small_sequence())
    with tokens_taken.connect() as mine:
        task = mine.submit(program, 10)
        monkeypatch.setenv("QPU_TOKEN", ada)
        with connect(tokens_taken.url) as hers:
            assert hers.health().caller == "ada"
            assert hers.submit(program, 12).result(timeout=120).shots == 12
            with pytest.raises(UnknownTask):
                hers.task(task.id)
            with pytest.raises(NotAllowed, match="no operator"):
                hers.drain("emulator")
            with pytest.raises(NotAllowed, match="can't issue"):
                hers.issue_token(TokenRequest())


def test_service_opens_and_closes_sessions_for_others(
    tokens_taken: Any, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = to_program(small_sequence())
    with tokens_taken.connect() as mine:
        prolog = mine.issue_token(TokenRequest(user="slurm", roles=["service"])).token
    monkeypatch.setenv("QPU_TOKEN", prolog)
    with connect(tokens_taken.url) as service:
        opened = service.open_session("job 77", key="slurm-77-0", user="ada")
        assert opened.owner == "ada"
        monkeypatch.setenv("QPU_TOKEN", ada)
        with connect(tokens_taken.url, session=opened.id) as hers:
            assert hers.submit(program, 10).result(timeout=120).shots == 10
            with pytest.raises(NotAllowed, match="may not open sessions for bob"):
                hers.open_session("job 78", user="bob")
            assert service.close_session(opened.id).closed_at is not None
            with pytest.raises(RequestRefused, match="is closed"):
                hers.submit(program, 10)
        with pytest.raises(NotAllowed, match="no operator"):
            service.drain("emulator")


def test_revoked_token_is_nobody_at_once(
    tokens_taken: Any, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tokens_taken.connect() as mine:
        (row,) = mine.tokens()
        monkeypatch.setenv("QPU_TOKEN", ada)
        with connect(tokens_taken.url) as hers:
            mine.revoke_token(row.id)
            with pytest.raises(NotAuthenticated, match="revoked"):
                hers.tasks()
        with pytest.raises(RequestRefused, match="nope"):
            mine.revoke_token("nope")


def test_tokens_outlive_the_manager_and_are_nowhere_in_the_clear(
    tokens_taken: Any, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens_taken.stop()
    secret = ada.rpartition("_")[2].encode()
    for path in tokens_taken.directory.iterdir():
        if path.is_file():
            assert secret not in path.read_bytes(), path.name
    tokens_taken.start()
    monkeypatch.setenv("QPU_TOKEN", ada)
    with connect(tokens_taken.url) as hers:
        assert hers.health().caller == "ada"


def test_token_file_is_read_and_must_be_private(
    tokens_taken: Any, ada: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(ada + "\n")
    file.chmod(0o644)
    monkeypatch.setenv("QPU_TOKEN_FILE", str(file))
    with pytest.raises(ConfigError, match="chmod 600"):
        connect(tokens_taken.url)
    file.chmod(0o600)
    with connect(tokens_taken.url) as hers:
        assert hers.health().caller == "ada"


def test_wrong_token_is_a_401_that_says_what_is_taken(tokens_taken: Any) -> None:
    request = urllib.request.Request(
        f"{tokens_taken.url}/v1/tasks", headers={"authorization": "Bearer guessed"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        problem = json.loads(answer.read())
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert problem["code"] == "not-authenticated"
    assert "guessed" not in json.dumps(problem)


@pytest.fixture
def munged(munged_installed: None) -> Iterator[Munged]:
    daemon = Munged()
    daemon.start()
    yield daemon
    daemon.close()


def test_client_answers_the_question_for_munge_by_itself(
    make_manager: Callable[..., Any], munged: Munged, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = f"authentication: [{{kind: munge, socket: {munged.socket}}}]"
    manager = make_manager(listen=LOOPBACK, site=site(auth))
    manager.start()
    monkeypatch.setenv("QPU_MUNGE_SOCKET", munged.socket)
    with connect(manager.url) as client:
        task = client.submit(to_program(small_sequence()), 10)
        assert task.result(timeout=120).shots == 10, "the event stream is let in too"
        client.drain("emulator")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{manager.url}/v1/tasks")


@pytest.fixture
def certified(tmp_path: Path) -> trustme.CA:
    """Writes `c.pem` and `k.pem` of 127.0.0.1 and `ca.pem`, who vouches for them."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "k.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "k.pem").chmod(0o600)
    return authority


def tls_of(directory: Path) -> str:
    return site(f"tls: {{certificate: {directory}/c.pem, key: {directory}/k.pem}}")


# asyncio leaves the transport of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_served_beside_the_socket_and_checked_by_clients(
    make_manager: Callable[..., Any],
    tmp_path: Path,
    certified: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    socket = f"unix://{tmp_path}/s"
    manager = make_manager(listen=["https://127.0.0.1:0", socket], site=tls_of(tmp_path))
    url = manager.start()
    assert url.startswith("https://")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with connect(url) as client, connect(socket) as local:
        assert client.submit(to_program(small_sequence()), 10).result(timeout=120).shots == 10
        assert len(local.tasks()) == 1
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    with pytest.raises(ManagerUnreachable, match="certificate"):
        connect(url, wait_s=0)
    with pytest.raises(ManagerUnreachable):
        connect(url.replace("https:", "http:"), wait_s=0)
    gc.collect()  # here, where that is expected, and not in a later test


@pytest.mark.parametrize(
    ("file", "mode", "said"),
    [
        ("k.pem", 0o640, "others can read the key"),
        ("c.pem", 0o666, "others can write the certificate"),
        ("site.yaml", 0o666, "others can write the site file"),
    ],
)
def test_unsafe_file_is_refused_with_what_to_type(
    tmp_path: Path, certified: trustme.CA, file: str, mode: int, said: str
) -> None:
    (tmp_path / "site.yaml").write_text(
        tls_of(tmp_path).format(listen=json.dumps(["https://127.0.0.1:0"]))
    )
    (tmp_path / "site.yaml").chmod(0o644)
    (tmp_path / file).chmod(mode)
    done = serve(tmp_path / "site.yaml")
    assert (done.returncode, said in done.stderr, "chmod" in done.stderr) == (2, True, True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("listen", "auth", "said"),
    [
        ("http://0.0.0.0:0", "plain_tcp: true", "can't prove who they are"),
        ("http://0.0.0.0:0", "authentication: [token]", "in the clear"),
        ("https://127.0.0.1:0", "authentication: [token]", "no certificate"),
        ("https://127.0.0.1:0", "tls: {certificate: a.pem, key: b.pem}", "no file"),
        ("http://127.0.0.1:0", "authentication: [tokn]", "did you mean 'token'"),
        ("http://127.0.0.1:0", "authentication: [{kind: munge, sokcet: /x}]", "sokcet"),
        ("http://127.0.0.1:0", "authentication: [{kind: munge, socket: /x}]", "munged"),
        ("http://127.0.0.1:0", "authentication: []", "authentication"),
        ("http://127.0.0.1:0", "operators: {user: [ops]}", "users"),
    ],
)
def test_manager_that_would_let_anybody_in_does_not_start(
    tmp_path: Path, listen: str, auth: str, said: str, request: pytest.FixtureRequest
) -> None:
    if "socket: /x" in auth:
        request.getfixturevalue("munged_installed")
    (tmp_path / "site.yaml").write_text(site(auth).format(listen=json.dumps([listen])))
    done = serve(tmp_path / "site.yaml")
    assert said in done.stderr
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def serve(path: Path) -> subprocess.CompletedProcess[str]:
    """`qpu serve` that is expected not to start."""
    return subprocess.run(
        [sys.executable, "-m", "qpu_executor.cli.main", "serve", "--site", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
