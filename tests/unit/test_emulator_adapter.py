import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import pytest_asyncio

from qpu_executor.errors import ConfigError, ProgramRefused
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus import emulation
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.pulser_emulator import build
from qpu_executor.qpus.sampling import Distribution

# Opened once for most tests, so these share an event loop.
looped = pytest.mark.asyncio(loop_scope="module")
TASK_IDS = itertools.count(1)


def scripted_simulation(program, device, limits):
    """Runs in a worker; the program's amplitude says what happens there."""
    import numpy as np

    if '"value": 3.0' in program.content:
        os.kill(os.getpid(), signal.SIGKILL)
    if '"value": 4.0' in program.content:
        signal.pause()
    if '"value": 4.5' in program.content:
        raise ArithmeticError("no convergence")
    bits = format(time.monotonic_ns(), "063b")
    return Distribution(len(bits), bits.encode(), np.array([1.0]).tobytes())


def prepare_nothing(backend):
    """Instead of importing an emulator."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scripted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulation, "emulate", scripted_simulation)
        patch.setattr(emulation, "prepare_worker", prepare_nothing)
        qpu = build("emu", {"workers": 2})
        await qpu.open()
        yield qpu
        await qpu.close()


def order(amplitude=2.0, shots=10):
    # Not at the top: workers import this module too, and shouldn't wait for Pulser.
    from qpu_executor.programs.pulser_sequence import to_program
    from qpu_executor.testing.sequences import small_sequence

    program = to_program(small_sequence(amplitude=amplitude))
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, 0, shots, 5)


async def outcome_of(qpu, one):
    await qpu.start(one)
    return await qpu.wait(one.chunk)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_atom": 3}, "did you mean 'max_atoms'"),
        ({"workers": 0}, "qpus.emu.workers"),
        ({"workers": True}, "qpus.emu.workers"),
        ({"max_atoms": "many"}, "whole number"),
        ({"device": ""}, "qpus.emu.device"),
        ({"device_overrides": 3}, "qpus.emu.device_overrides"),
    ],
)
def test_wrong_settings_are_refused_with_key_and_expectation(settings, message):
    with pytest.raises(ConfigError, match=message):
        build("emu", settings)


def test_the_default_leaves_a_processor_free():
    assert EmulatorSettings().workers == max(1, len(os.sched_getaffinity(0)) - 1)


async def test_a_typo_in_the_device_is_a_config_error_when_opened():
    qpu = build("emu", {"device": "AnalogDevcie", "workers": 1})
    try:
        with pytest.raises(ConfigError, match="did you mean 'AnalogDevice'"):
            await qpu.open()
    finally:
        await qpu.close()


@looped
async def test_a_worker_that_dies_is_a_fault_and_the_next_chunk_runs(scripted):
    found = await outcome_of(scripted, order(amplitude=3.0))
    assert found.kind is OutcomeKind.FAULT
    assert "exit code -9" in found.message
    assert (await outcome_of(scripted, order())).kind is OutcomeKind.FINISHED


@looped
async def test_an_emulator_s_own_error_is_a_fault_with_its_text(scripted):
    found = await outcome_of(scripted, order(amplitude=4.5))
    assert found.kind is OutcomeKind.FAULT
    assert found.message == "the simulation failed: no convergence"


@looped
async def test_chunks_of_one_program_wait_for_one_simulation(scripted):
    found = await asyncio.gather(*(outcome_of(scripted, order(1.5)) for _ in range(4)))
    # The simulation names its process and moment, so two of them would differ.
    assert len({tuple(one.counts) for one in found}) == 1
    assert all(one.shots == 10 for one in found)
    again = await outcome_of(scripted, order(1.5))
    assert tuple(again.counts) == tuple(found[0].counts)


@looped
async def test_a_stop_leaves_the_simulation_to_others_and_the_last_one_kills_it(scripted):
    first, second = order(amplitude=4.0), order(amplitude=4.0)
    for one in (first, second):
        await scripted.start(one)
    await scripted.stop(first.chunk)
    assert (await scripted.wait(first.chunk)).kind is OutcomeKind.STOPPED
    assert await scripted.ask(second.chunk) is None
    await scripted.stop(second.chunk)
    assert (await scripted.wait(second.chunk)).kind is OutcomeKind.STOPPED
    # One worker hangs for good; if the other weren't replaced, the last chunk would never end.
    hanging = order(amplitude=4.0)
    await scripted.start(hanging)
    assert (await outcome_of(scripted, order(amplitude=2.5))).kind is OutcomeKind.FINISHED
    await scripted.stop(hanging.chunk)


@looped
async def test_after_a_restart_a_chunk_is_not_known(scripted):
    one = order()
    await outcome_of(scripted, one)
    again = build("emu", {"workers": 1})
    asked = await again.ask(one.chunk)
    assert asked is not None
    assert asked.kind is OutcomeKind.NOT_KNOWN


@looped
async def test_a_device_s_limit_is_kept(scripted):
    limited = build("emu", {"workers": 1, "device_overrides": {"max_runs": 77}})
    await limited.open()
    try:
        assert limited.capabilities.max_chunk_shots == 77
        with pytest.raises(ProgramRefused, match="78 shots; AnalogDevice takes at most 77"):
            await limited.start(order(shots=78))
    finally:
        await limited.close()


async def test_an_emulation_that_takes_too_long_is_ended_and_refused_with_the_number(monkeypatch):
    monkeypatch.setattr(emulation, "emulate", scripted_simulation)
    monkeypatch.setattr(emulation, "prepare_worker", prepare_nothing)
    hurried = build("emu", {"workers": 1, "max_run_s": 0.3})
    await hurried.open()
    try:
        found = await outcome_of(hurried, order(amplitude=4.0))
        assert found.kind is OutcomeKind.REFUSED
        assert "the emulation took longer than 0.3 s" in found.message
    finally:
        await hurried.close()


OWNER = """
import asyncio, multiprocessing
from qpu_executor.qpus.pulser_emulator import build

async def main():
    qpu = build("emu", {"workers": 2})
    await qpu.open()
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_workers_end_when_their_owner_is_killed(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(workers) == 2
        owner.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
