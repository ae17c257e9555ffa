"""How long a QPU is without a manager: from the leader's fault until its standby leads.

    pytest tests/benchmarks/test_takeover_benchmark.py --benchmark-only

On PostgreSQL with the default lease. A case prints the seconds until the standby has the
store, and until it listens (its QPU is opened in between).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.postgres import Postgres
from qpu_executor.testing.relay import Relay

SITE = """
manager:
  listen: {{listen}}
  store: {{{{url: '{url}', directory: files}}}}
default_class: development
job_classes: {{{{development: {{{{priority: 100}}}}}}}}
qpus: {{{{q: {{{{kind: pasqal-controller, url: "{controller}", shot_rate_hz: 100}}}}}}}}
"""

FAULTS: dict[str, Callable[[Any, Relay], None]] = {
    "kill -9": lambda leader, relay: leader.kill(),
    "hangs": lambda leader, relay: os.kill(leader.pid, signal.SIGSTOP),
    "cut off from the database": lambda leader, relay: relay.swallow(),
}


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    made = Relay(postgres.socket)
    made.start()
    yield made
    made.close()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    made = ControllerProcess(tmp_path)
    made.start()
    yield made
    made.close()


def until(words: str, standby: subprocess.Popen[str]) -> float:
    """The instant at which its log says so."""
    assert standby.stderr is not None
    assert any(words in line for line in standby.stderr), f"it ended without saying {words!r}"
    return time.monotonic()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_standby_takes_over(
    fault: str,
    make_manager: Any,
    postgres: Postgres,
    relay: Relay,
    controller: ControllerProcess,
    benchmark: BenchmarkFixture,
) -> None:
    url = postgres.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    through = f"postgresql://postgres@127.0.0.1:{relay.port}/{name}"
    leader = make_manager(site=SITE.format(url=through, controller=controller.url))
    leader.start()
    site = leader.directory / "standby.yaml"
    listen = [f"unix://{leader.directory}/second.sock"]
    site.write_text(SITE.format(url=url, controller=controller.url).format(listen=listen))
    command = (sys.executable, "-m", "qpu_executor.cli.main", "serve", "--standby")
    standby = subprocess.Popen(
        [*command, "--site", str(site)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until("standby: the store is in use by", standby)

        def measured() -> None:
            began = time.monotonic()
            FAULTS[fault](leader, relay)
            has_it = until("standby: this manager takes over", standby)
            listens = until("listening on", standby)
            found = f"\n{fault}: {has_it - began:.1f} s, listening after {listens - began:.1f} s\n"
            sys.stderr.write(found)

        benchmark.pedantic(measured, rounds=1)
    finally:
        standby.kill()
        standby.communicate()
        relay.forward()
