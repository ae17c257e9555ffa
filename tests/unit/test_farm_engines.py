import asyncio
import pickle

import pytest

from qpu_executor.errors import DeviceError, ProgramRefused
from qpu_executor.farm.carrying import carry
from qpu_executor.farm.engines import _Engine, trouble_of
from qpu_executor.qpus.workers import WorkerDiedError, WorkerPool, WorkerTimeoutError


class Unpicklable(Exception):
    def __init__(self, lines, handle):
        super().__init__(lines)
        self.handle = handle


def fails_abroad():
    raise Unpicklable("one\ntwo", open)


def refuses():
    raise ProgramRefused("too large", rule="emulator")


class Broken(_Engine):
    """Raises what it was given instead of running anything."""

    def __init__(self, error):
        self.error = error

    def trouble(self):
        return "broken"

    async def _call(self, function, *args):
        raise self.error


def test_a_foreign_error_crosses_as_one_line_of_text():
    with pytest.raises(DeviceError) as caught:
        carry(fails_abroad)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    crossed = pickle.loads(pickle.dumps(caught.value))
    assert str(crossed) == "Unpicklable: one two"


def test_our_own_error_crosses_as_it_is():
    with pytest.raises(ProgramRefused) as caught:
        carry(refuses)
    assert pickle.loads(pickle.dumps(caught.value)).rule == "emulator"
    assert carry(max, 1, 2) == 2


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Unpicklable("lost\nworker", 1), WorkerDiedError),
        (ProgramRefused("too large"), ProgramRefused),
        # Of the connection to the scheduler, and not of the emulation.
        (TimeoutError("no scheduler"), WorkerDiedError),
    ],
)
async def test_what_an_engine_raises_is_a_dead_worker_unless_it_is_ours(raised, expected):
    with pytest.raises(expected) as caught:
        await Broken(raised).run(max, 60, 1, 2)
    assert "\n" not in str(caught.value)


async def test_a_call_that_takes_too_long_is_a_timeout():
    class Slow(Broken):
        async def _call(self, function, *args):
            await asyncio.Event().wait()

    with pytest.raises(WorkerTimeoutError, match=r"within 0.01 s"):
        await Slow(None).run(max, 0.01, 1, 2)


def test_processes_of_this_host_have_no_trouble_of_their_own():
    assert trouble_of(WorkerPool(1)) is None
    assert trouble_of(Broken(ValueError())) == "broken"
