"""The adapter for Pasqal's controller against the suite that third parties run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pulser
import pytest

from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.pasqal_controller.adapter import build
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.sequences import small_sequence

DATA = Path(__file__).parents[1] / "data" / "controller"


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    """The stand-in for Pasqal's controller, in a process of its own."""
    process = ControllerProcess(
        tmp_path_factory.mktemp("controller"),
        *("--shot-s", "0.005", "--scenario", str(DATA / "partial-results.json")),
    )
    process.start()
    process.control("specs", {"max_runs": 40_000})
    yield process
    process.close()


def make_controlled(controller: ControllerProcess) -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    near = {"a": (0.0, 0.0), "b": (1.0, 0.0)}
    return Subject(
        build("controlled", {"url": controller.url, "partial_results": True}),
        (program(), program(duration_ns=160)),
        program(duration_ns=240),
        program(device=pulser.MockDevice, atoms=near, layout=False),
        endless_shots=40_000,  # 200 s
        survives=True,
        too_many=None,
        begun=lambda: sum(line["event"] == "began" for line in controller.ledger),
    )


@pytest.fixture(params=["pasqal-controller"], scope="module")
def make(controller: ControllerProcess) -> Callable[[], Subject]:
    return partial(make_controlled, controller)
