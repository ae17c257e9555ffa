"""Which manager `connect()` finds: the argument, $QPU_MANAGER, or an embedded one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from qpu_executor.client import aconnect, connect, embedded
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.errors import CallerError, ConfigError, ManagerUnreachable
from qpu_executor.wire.site import HealthOut


async def _health(_: web.Request) -> web.Response:
    body = HealthOut(
        version="1", api_versions=[1], instance="i", embedded=True, host="h", caller="me",
        cursor=0, now=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return web.Response(body=body.model_dump_json(), content_type="application/json")


@pytest.fixture
def url() -> Iterator[str]:
    """A manager on a unix socket that answers to hello."""
    directory = tempfile.mkdtemp()
    socket = f"{directory}/m.sock"
    app = web.Application()
    app.router.add_get("/v1/health", _health)
    runner = web.AppRunner(app, shutdown_timeout=0)

    async def start() -> None:
        await runner.setup()
        await web.UnixSite(runner, socket).start()

    thread = LoopThread("manager")
    thread.start()
    thread.run(start())
    yield f"unix://{socket}"
    thread.stop(runner.cleanup)
    shutil.rmtree(directory)


def test_the_argument_goes_before_the_environment(url, monkeypatch):
    monkeypatch.setenv("QPU_MANAGER", "unix:///nowhere/at/all.sock")
    with connect(url) as client:
        assert client.url == url
        assert client.health().caller == "me"
    with pytest.raises(ManagerUnreachable, match="nowhere"):
        connect()


def test_the_environment_goes_before_an_embedded_manager(url, monkeypatch):
    monkeypatch.setenv("QPU_MANAGER", url)
    monkeypatch.setattr(embedded, "acquire", None)
    with connect() as client:
        assert client.url == url


def test_a_bad_url_names_where_it_came_from(monkeypatch):
    monkeypatch.setenv("QPU_MANAGER", "head:8080")
    with pytest.raises(ConfigError, match=r"\$QPU_MANAGER: 'head:8080'.*http://127.0.0.1:8080"):
        connect()
    with pytest.raises(ConfigError, match="manager: 'x'"):
        connect("x")
    with pytest.raises(ConfigError, match="wait_s=-1"):
        connect("http://h", wait_s=-1)


@pytest.mark.parametrize("use", ["sync", "async"])
async def test_an_embedded_manager_is_let_go_once_when_its_client_closes(url, monkeypatch, use):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    child = SimpleNamespace(url=url, ended=lambda: None)
    asked: list[Path | None] = []
    released: list[object] = []
    monkeypatch.setattr(embedded, "acquire", lambda directory, _: asked.append(directory) or child)
    monkeypatch.setattr(embedded, "release", released.append)
    if use == "sync":
        client = connect(directory=Path("/d"))
        client.close()
        client.close()
    else:
        async_client = await aconnect(directory=Path("/d"))
        await async_client.close()
        await async_client.close()
    assert asked == [Path("/d")]
    assert released == [child]


def test_an_embedded_manager_is_let_go_when_hello_fails(monkeypatch, tmp_path):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    child = SimpleNamespace(url=f"unix://{tmp_path}/gone", ended=lambda: None)
    released: list[object] = []
    monkeypatch.setattr(embedded, "acquire", lambda *_: child)
    monkeypatch.setattr(embedded, "release", released.append)
    with pytest.raises(ManagerUnreachable, match="no socket"):
        connect()
    assert released == [child]


def test_who_finds_no_socket_of_a_service_is_told_to_try_again(tmp_path):
    with pytest.raises(ManagerUnreachable, match="is being restarted") as caught:
        connect(f"unix://{tmp_path}/manager.sock")
    assert caught.value.next_step is not None
    assert caught.value.next_step.startswith("try again in a moment")


def test_an_embedded_manager_that_ended_is_not_waited_for(url, monkeypatch):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    gone = ManagerUnreachable("it has ended")
    child = SimpleNamespace(url=url, ended=lambda: gone)
    monkeypatch.setattr(embedded, "acquire", lambda *_: child)
    monkeypatch.setattr(embedded, "release", lambda _: None)
    with connect(wait_s=10_000) as client:
        Path(url.removeprefix("unix://")).unlink()
        client.health()  # over the connection that is open already

        async def lose_connections() -> None:
            await client._client._channel.transport.close()
            await client._client._channel.transport.start()

        client.call(lose_connections())
        with pytest.raises(ManagerUnreachable, match="it has ended"):
            client.health()


def test_a_closed_client_says_so_and_none_pickles(url):
    import pickle

    client = connect(url)
    with pytest.raises(TypeError, match=r"client\.url"):
        pickle.dumps(client)
    client.close()
    with pytest.raises(CallerError, match="closed"):
        client.health()
