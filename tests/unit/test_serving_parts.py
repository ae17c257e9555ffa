"""A manager whose HTTP server dies ends, while it starts and later; nobody waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import Parts, build_parts
from qpu_executor.errors import InternalError
from qpu_executor.manager.api.listening import Server
from qpu_executor.settings import parse_site

SITE = """
manager:
  listen: ["unix://{path}/m.sock"]
  store: {{path: "{path}/store.sqlite", directory: "{path}"}}
default_class: production
job_classes: {{production: {{priority: 1}}}}
qpus: {{q: {{kind: simulated-qpu, shot_rate_hz: 1}}}}
"""


async def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by nothing")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return build_parts(parse_site(SITE.format(path=tmp_path), "site"), embedded=False)


async def test_a_server_that_can_t_start_is_told(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "startup", broken)
    with pytest.raises(InternalError, match=r"part for http failed.*by nothing"):
        async with asyncio.timeout(60), parts.running():
            pass


async def test_a_server_that_dies_ends_the_manager(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(60), parts.running():
        monkeypatch.setattr(Server, "on_tick", broken)
        await parts.manager.loop.ended()
    assert isinstance(parts.manager.loop.failure, InternalError)
