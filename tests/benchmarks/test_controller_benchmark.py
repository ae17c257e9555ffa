"""How long a QPU waits between two chunks of 50 ms, and how often its controller is asked.

    pytest tests/benchmarks/test_controller_benchmark.py -s

The controller is the stand-in, as a process on loopback; its own ledger says when a job
ended and when the next one arrived. Measured in one run: `qpu serve` (with its durable
commit between two chunks), the adapter alone, and a client that looks at its job at
fixed intervals, as Warden 0.1.0 does (5 s by default; 10 ms as a site may tune it).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.base import ChunkOrder
from qpu_executor.qpus.pasqal_controller.adapter import build
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.sequences import small_sequence

SHOTS = 10
SHOT_S = 0.005
CHUNKS = 80
WARM_UP = 5
STORE_WARM_UP = 140
"""Chunks after which the store's write-ahead log has been gone through once. A log that grew
with every commit cost some milliseconds for each until then: the first ones are shown too."""

SITE = """
manager:
  listen: {{listen}}
  store: store.sqlite
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 0.05}}}}
qpus:
  fresnel: {{{{kind: pasqal-controller, url: "{url}", shot_rate_hz: 200}}}}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    process = ControllerProcess(tmp_path, "--coins", "--shot-s", str(SHOT_S))
    process.start()
    yield process
    process.close()


def gaps_ms(controller: ControllerProcess, skip: int = WARM_UP) -> list[float]:
    """Milliseconds between the end of a job and the arrival of the next, without the first."""
    lines = controller.ledger
    ended = [line["at_ns"] for line in lines if line["event"] == "ended"]
    began = [line["at_ns"] for line in lines if line["event"] == "began"]
    pairs = zip(ended, began[1:], strict=False)
    return [(arrived - done) / 1e6 for done, arrived in pairs][skip:]


def report(what: str, controller: ControllerProcess, gaps: list[float]) -> tuple[float, float]:
    """Median gap (ms) and requests a chunk; printed as well."""
    state = controller.state()["requests"]
    requests = (state.get("create", 0) + state.get("job", 0)) / state["create"]
    median = statistics.median(gaps)
    quartiles = statistics.quantiles(gaps, n=4) if len(gaps) > 1 else [median] * 3
    sys.stdout.write(
        f"\n{what}: gap median {median:.2f} ms (quartiles {quartiles[0]:.2f}, "
        f"{quartiles[2]:.2f}; max {max(gaps):.1f}), {requests:.1f} requests a chunk\n"
    )
    return median, requests


def fixed_interval_client(url: str, program: Program, interval_s: float, jobs: int) -> None:
    """Sends jobs one after the other, and looks at each at fixed intervals."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))

    def ask(method: str, path: str, body: Any = None) -> dict[str, Any]:
        sent = None if body is None else json.dumps(body)
        connection.request(method, f"/api/v1{path}", sent, {"Content-Type": "application/json"})
        found: dict[str, Any] = json.loads(connection.getresponse().read())["data"]
        return found

    for _ in range(jobs):
        ask("GET", "/system/operational")
        job = {"nb_run": SHOTS, "pulser_sequence": program.content, "context": {"batch_id": "b"}}
        number = ask("POST", "/jobs", job)["uid"]
        while ask("GET", f"/jobs/{number}")["status"] != "DONE":
            time.sleep(interval_s)
    connection.close()


async def run_adapter(url: str, directory: Path, program: Program) -> None:
    qpu = build("fresnel", {"url": url})
    await qpu.open(SystemClock(), directory)
    for n in range(CHUNKS):
        chunk = ChunkId(1, n)
        await qpu.start(ChunkOrder(chunk, program, n * SHOTS, SHOTS, 7))
        assert (await qpu.wait(chunk)).shots == SHOTS
    await qpu.close()


def test_the_adapter_alone(controller: ControllerProcess, tmp_path: Path, program: Program) -> None:
    asyncio.run(run_adapter(controller.url, tmp_path, program))
    _, requests = report("adapter alone", controller, gaps_ms(controller))
    assert requests <= 8


def test_the_whole_manager_beside_a_fixed_interval(
    make_manager: Any, controller: ControllerProcess, tmp_path: Path, program: Program
) -> None:
    served = make_manager(site=SITE.format(url=controller.url))
    served.start()
    with served.connect() as client:
        shots = (STORE_WARM_UP + CHUNKS) * SHOTS
        assert client.submit(program, shots).result(timeout=120).shots == shots
    gaps = gaps_ms(controller)
    report("qpu serve, a new store", controller, gaps[: STORE_WARM_UP // 2])
    ours, requests = report("qpu serve", controller, gaps[STORE_WARM_UP - WARM_UP :])
    assert requests <= 8
    for interval_s, jobs, what in ((5.0, 3, "default"), (0.01, 40, "tuned")):
        directory = tmp_path / what
        directory.mkdir()
        peer = ControllerProcess(directory, "--coins", "--shot-s", str(SHOT_S))
        peer.start()
        try:
            fixed_interval_client(peer.url, program, interval_s, jobs)
            lines = gaps_ms(peer, skip=WARM_UP if jobs > WARM_UP else 0)
            theirs, _ = report(f"a fixed interval of {interval_s:g} s ({what})", peer, lines)
        finally:
            peer.close()
        sys.stdout.write(f"{theirs / ours:.1f} times as long\n")
        if what == "default":
            assert theirs / ours > 100
