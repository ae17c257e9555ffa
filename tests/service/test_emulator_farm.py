"""A farm as a process of its own: on every engine, when it dies, and when its workers do."""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pulser
import pytest

from qpu_executor.errors import DeviceError
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.emulating import draw, emulate
from qpu_executor.qpus.emulator_backends import installed
from qpu_executor.qpus.emulator_choice import EmulationLimits
from qpu_executor.qpus.emulator_farm import build
from qpu_executor.testing.farm_process import farm_process
from qpu_executor.testing.sequences import line, small_sequence

PROGRAM = to_program(small_sequence())
# Far longer than a test needs to be rid of it.
LONG = to_program(small_sequence(atoms=line(14, spacing_um=5.0), duration_ns=5000))
NUMBERS = itertools.count()


@pytest.fixture
def short():
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def order(program=PROGRAM, shots=50):
    return ChunkOrder(ChunkId(1, next(NUMBERS)), program, 0, shots, 7)


@asynccontextmanager
async def opened(farm, directory, **settings):
    qpu = build("farm", {"url": farm.url, **settings})
    await qpu.open(SystemClock(), directory)
    try:
        yield qpu
    finally:
        await qpu.close()


@contextmanager
def dask_cluster(directory):
    """A scheduler and a worker; yields the farm's engine settings."""
    file = directory / "scheduler.json"
    command = [sys.executable, "-m"]
    options = ["--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", str(file)]
    scheduler = [*command, "distributed.cli.dask_scheduler", "--port", "0", *options]
    worker = [*command, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(scheduler, text=True, cwd=directory, **quiet) as one:
        try:
            # It writes the file once it listens, whatever it says before and after.
            while not file.exists():
                assert one.poll() is None, one.communicate()[1]
                time.sleep(0.01)
            with subprocess.Popen(worker, text=True, cwd=directory, **quiet) as other:
                try:
                    yield {"kind": "dask", "scheduler_file": str(file)}
                finally:
                    other.kill()
        finally:
            one.kill()


@contextmanager
def parsl_engine(_):
    yield {"kind": "parsl"}


@pytest.mark.parametrize("engine", [parsl_engine, dask_cluster])
async def test_on_a_cluster_the_counts_are_those_of_an_emulation_here(short, tmp_path, engine):
    state = emulate(PROGRAM, device_json("AnalogDevice"), EmulationLimits(installed()))
    expected = draw(state, seed=7, first_shot=0, shots=50)
    with engine(short) as settings, farm_process(short, {"engine": settings}) as farm:
        async with opened(farm, tmp_path) as qpu:
            one = order()
            await qpu.start(one)
            found = await qpu.wait(one.chunk)
            assert found.kind is OutcomeKind.FINISHED, found.message
            assert found.counts == expected
            # What a worker finds out crosses as words.
            refused = order(to_program(small_sequence(pulser.MockDevice, duration_ns=7000)))
            await qpu.start(refused)
            found = await qpu.wait(refused.chunk)
            assert found.kind is OutcomeKind.REFUSED
            assert "AnalogDevice" in found.message
    left = [child for child in psutil.Process().children(recursive=True) if _of_farm(child)]
    assert psutil.wait_procs(left, timeout=60)[1] == []


def _of_farm(process):
    try:
        return "farm" in process.cmdline()
    except psutil.Error:
        return False


async def test_a_farm_that_is_killed_forgets_and_the_next_one_runs_on(short, tmp_path):
    config = {"emulator": {"max_atoms": 14}}
    with farm_process(short, config) as farm:
        async with opened(farm, tmp_path, forget_after_s=3600) as qpu:
            held = order(LONG)
            await qpu.start(held)
            waiting = asyncio.create_task(qpu.wait(held.chunk))
            assert await qpu.ask(held.chunk) is None
            farm.kill()
            assert (await waiting).kind is OutcomeKind.UNANSWERED
            asked = await qpu.ask(held.chunk)
            assert asked is not None
            assert asked.kind is OutcomeKind.UNANSWERED
            assert (await qpu.health()).state is QpuState.DOWN
            with pytest.raises(DeviceError, match="nobody answers"):
                await qpu.start(order())
            with farm_process(short, config):
                assert (await qpu.health()).state is QpuState.UP
                asked = await qpu.ask(held.chunk)
                assert asked is not None
                assert asked.kind is OutcomeKind.NOT_KNOWN
                again = order()
                await qpu.start(again)
                assert (await qpu.wait(again.chunk)).shots == 50


async def test_a_dead_worker_is_a_fault_and_an_end_in_good_order_is_told(short, tmp_path):
    with farm_process(short, {"emulator": {"max_atoms": 14}}) as farm:
        async with opened(farm, tmp_path) as qpu:
            held = order(LONG)
            await qpu.start(held)
            assert await qpu.ask(held.chunk) is None
            busy = await _busy_worker(farm.process.pid)
            busy.kill()
            found = await qpu.wait(held.chunk)
            assert found.kind is OutcomeKind.FAULT
            assert "exit code -9" in found.message
            again = order()
            await qpu.start(again)
            assert (await qpu.wait(again.chunk)).kind is OutcomeKind.FINISHED
            held = order(LONG)
            await qpu.start(held)
            waiting = asyncio.create_task(qpu.wait(held.chunk))
            assert await qpu.ask(held.chunk) is None
            farm.process.terminate()
            assert (await waiting).kind is OutcomeKind.STOPPED
        assert farm.process.wait() == 0
    assert not (short / "farm.sock").exists()


async def _busy_worker(farm):
    """The process that emulates: the one that has used the most processor time by then."""
    while True:
        workers = psutil.Process(farm).children()
        spent = {one: one.cpu_times().user for one in workers}
        busiest = max(workers, key=spent.__getitem__)
        await asyncio.sleep(0.2)
        # It has imported the emulator (seconds), and goes on computing.
        if spent[busiest] > 4 and busiest.cpu_times().user > spent[busiest]:
            return busiest


def test_over_tcp_a_token_is_needed_and_managers_load_no_cluster_and_no_emulator(short, tmp_path):
    config = {"listen": "http://127.0.0.1:0", "token_file": "token", "address_file": "address"}
    with farm_process(short, config) as farm:
        assert (short / "address").read_text().strip() == farm.url
        settings = {"address_file": str(short / "address"), "token_file": str(short / "token")}
        found = subprocess.run(
            [sys.executable, "-c", MANAGER, json.dumps(settings), str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.stdout.splitlines() == ["UP", "[]"], found.stderr
        (tmp_path / "farm.farm.json").unlink()
        (short / "other").touch(0o600)
        (short / "other").write_text("another-token-of-nobody-here\n")
        stranger = build("farm", {**settings, "token_file": str(short / "other")})
        with pytest.raises(DeviceError, match="wants its token"):
            asyncio.run(stranger.open(SystemClock(), tmp_path))


MANAGER = """
import asyncio, json, sys
from pathlib import Path
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.qpus.emulator_farm import build

async def main():
    qpu = build("farm", json.loads(sys.argv[1]))
    await qpu.open(SystemClock(), Path(sys.argv[2]))
    print((await qpu.health()).state)
    await qpu.close()
    print(sorted({"parsl", "dask", "distributed", "torch", "pulser"} & set(sys.modules)))

asyncio.run(main())
"""
