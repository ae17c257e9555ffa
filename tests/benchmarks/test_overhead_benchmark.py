"""What a task costs on its way through the whole product, beside the engines' own executors.

    pytest tests/benchmarks/test_overhead_benchmark.py --benchmark-only

One round is 200 tasks, submitted at once and waited for. The table's ratios
compare, in one run on one machine: a quantum task of ten shots through client,
wire, API, store (two durable commits), core and emulator, and a Python function
that does nothing through Parsl's thread pool and Parsl's HighThroughputExecutor.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from pytest_benchmark.fixture import BenchmarkFixture

from qpu_executor.client import Client, TaskOrder, connect
from qpu_executor.parsl import QPUExecutor, quantum_app
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

TASKS = 200
ROUNDS = 5

pytestmark = [
    pytest.mark.benchmark(group="200 tasks at once"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[Client]:
    with connect(directory=tmp_path_factory.mktemp("manager")) as connected:
        connected.submit(program, 1).result()
        yield connected


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def engine(
    tmp_path_factory: pytest.TempPathFactory,
    client: Client,
    monkeypatch_module: pytest.MonkeyPatch,
) -> Iterator[None]:
    executors: list[Any] = [
        ThreadPoolExecutor(label="threads", max_threads=2),
        HighThroughputExecutor(label="htex", max_workers_per_node=2),
        QPUExecutor(manager=client.url),
    ]
    run_dir = str(tmp_path_factory.mktemp("parsl"))
    # Parsl looks for its interchange by name: as in an activated environment.
    monkeypatch_module.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    with parsl.load(Config(executors=executors, run_dir=run_dir, initialize_logging=False)):
        yield


@pytest.mark.parametrize("label", ["threads", "htex"])
def test_a_classical_no_op_through_parsl(
    benchmark: BenchmarkFixture, engine: None, label: str
) -> None:
    app = PythonApp(platform.system, executors=[label])

    def all_of_them() -> None:
        for future in [app() for _ in range(TASKS)]:
            future.result()

    benchmark.pedantic(all_of_them, rounds=ROUNDS, warmup_rounds=1)


def test_a_quantum_task_through_parsl(
    benchmark: BenchmarkFixture, engine: None, program: Program
) -> None:
    @quantum_app(shots=10)
    def built() -> Program:
        return program

    def all_of_them() -> None:
        for future in [built() for _ in range(TASKS)]:
            assert future.result().shots == 10

    benchmark.pedantic(all_of_them, rounds=ROUNDS, warmup_rounds=1)


def test_a_quantum_task_through_the_client(
    benchmark: BenchmarkFixture, client: Client, program: Program
) -> None:
    def all_of_them() -> None:
        orders = [TaskOrder(program=program, shots=10) for _ in range(TASKS)]
        for future in [client.run_future(order) for order in orders]:
            assert future.result().shots == 10

    benchmark.pedantic(all_of_them, rounds=ROUNDS, warmup_rounds=1)


def test_one_quantum_task_after_the_other(
    benchmark: BenchmarkFixture, client: Client, program: Program
) -> None:
    """A round is ONE task here: the latency that a closed loop sees."""
    benchmark.group = "one task"
    benchmark(lambda: client.submit(program, 10).result())
