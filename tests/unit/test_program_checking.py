import asyncio
import json
import os
import signal

import psutil
import pytest

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.program import Program
from qpu_executor.qpus import checking
from qpu_executor.qpus.checking import ProgramChecker

# Workers import this module, so it doesn't import Pulser itself.


def scripted_check(program, device):
    """Runs in a worker: what a hostile program could make of a check."""
    if program.content == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if program.content == "hang":
        signal.pause()
    if program.content == "eat":
        raise MemoryError
    return (program.content, os.getpid())


@pytest.fixture
async def scripted(monkeypatch):
    monkeypatch.setattr(checking, "check", scripted_check)
    monkeypatch.setattr(checking, "import_pulser_quietly", os.getpid)
    async with ProgramChecker(timeout_s=0.5) as checker:
        yield checker


async def test_facts_and_refusals_come_from_the_worker_and_are_kept():
    from pulser import MockDevice

    from qpu_executor.programs.devices import device_json
    from qpu_executor.programs.pulser_sequence import to_program
    from qpu_executor.testing.sequences import small_sequence

    analog = device_json("AnalogDevice")
    short = device_json("AnalogDevice", {"max_sequence_duration": 100})
    program = to_program(small_sequence())
    endless = json.loads(to_program(small_sequence(MockDevice)).content)
    for waveform in ("amplitude", "detuning"):
        endless["operations"][0][waveform]["duration"] = 10**11
    async with ProgramChecker() as checker:
        facts = await checker.check(program, analog)
        assert facts.atoms == 3
        assert await checker.check(program, analog) is facts
        for _ in range(2):
            with pytest.raises(ProgramRefused) as caught:
                await checker.check(program, short)
            assert caught.value.rule == "max_sequence_duration"
        # A pulse of 800 GB.
        with pytest.raises(ProgramRefused, match="memory"):
            await checker.check(to_program(endless), analog)


async def test_concurrent_duplicates_share_one_check(scripted):
    found = await asyncio.gather(*(scripted.check(Program("k", "same"), "d") for _ in range(5)))
    assert all(one is found[0] for one in found)


async def test_a_check_that_kills_its_worker_is_a_refusal_and_the_next_goes_on(scripted):
    with pytest.raises(ProgramRefused, match="exit code -9") as caught:
        await scripted.check(Program("k", "die"), "d")
    assert caught.value.rule == "check_died"
    assert (await scripted.check(Program("k", "fine"), "d"))[0] == "fine"


async def test_a_check_that_takes_too_long_is_a_refusal_and_the_next_goes_on(scripted):
    with pytest.raises(ProgramRefused, match=r"longer than 0\.5 s") as caught:
        await scripted.check(Program("k", "hang"), "d")
    assert caught.value.rule == "check_time"
    assert (await scripted.check(Program("k", "fine"), "d"))[0] == "fine"


async def test_a_check_that_takes_too_much_memory_is_a_refusal(scripted):
    with pytest.raises(ProgramRefused, match="too much memory"):
        await scripted.check(Program("k", "eat"), "d")


async def test_an_idle_worker_that_is_killed_is_replaced(scripted):
    _, pid = await scripted.check(Program("k", "one"), "d")
    psutil.Process(pid).kill()
    text, other = await scripted.check(Program("k", "two"), "d")
    assert text == "two"
    assert other != pid


async def test_closing_twice_is_fine():
    checker = ProgramChecker()
    await checker.open()
    await checker.close()
    await checker.close()
