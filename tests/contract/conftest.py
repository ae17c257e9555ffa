"""What the files share in which our QPU adapters meet the suite of `testing.contracts.qpu`.

One file for each sort of machine, so that several processes share them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.base import QpuAdapter
from qpu_executor.qpus.simulated import build as build_simulated
from qpu_executor.testing.contracts.qpu_subject import Subject
from qpu_executor.testing.munge_stand_in import load_munge_stand_in
from qpu_executor.testing.sequences import line, small_sequence
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

Build = Callable[[StandInProcess, str], QpuAdapter]
"""Makes an adapter for a stand-in; the path is of a file with the token that this takes."""


def _program(**settings: object) -> Program:
    return to_program(small_sequence(**settings))


@pytest.fixture(scope="session")
def emulated_subject() -> Callable[[QpuAdapter], Subject]:
    """Makes the subject of an emulator that takes 14 atoms."""

    def subject(qpu: QpuAdapter) -> Subject:
        return Subject(
            qpu,
            (_program(), _program(duration_ns=160)),
            # Not endless, but far longer than the test needs to stop it.
            _program(atoms=line(14, spacing_um=5.0), duration_ns=5000),
            _program(atoms=line(15, spacing_um=5.0)),
        )

    return subject


@pytest.fixture(scope="session")
def simulated_subject() -> Callable[..., Subject]:
    """Makes the subject of a simulated QPU with these settings besides its memory."""

    def subject(memory: str = "none", **troubles: object) -> Subject:
        settings = {
            "device_overrides": {"max_runs": 40_000},
            "shot_rate_hz": 200,
            "partial_results": True,
            "memory": memory,
            "calibration": {"by": "manager", "every_s": 3600, "length_s": 60},
            **troubles,
        }
        return Subject(
            build_simulated("sim", settings),
            (_program(), _program(duration_ns=160)),
            _program(duration_ns=240),
            _program(atoms=line(15, spacing_um=5.0)),
            endless_shots=40_000,  # 200 s
            survives=memory == "file",
        )

    return subject


@pytest.fixture(scope="session")
def behind_stand_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Build], AbstractContextManager[Callable[[], Subject]]]:
    """Makes subjects of a Pasqal QPU behind a stand-in for its vendor, which takes 5 ms for a shot.

    What one kind of QPU leaves behind there isn't in another's way: each has its own.
    """

    @contextmanager
    def behind(build: Build) -> Iterator[Callable[[], Subject]]:
        token_file = tmp_path_factory.mktemp("secrets") / "token"
        token_file.touch(mode=0o600)
        token_file.write_text("stand-in-token\n", "utf-8")
        with StandInProcess(tmp_path_factory.mktemp("stand-in"), shot_s=0.005) as stand_in:
            yield lambda: Subject(
                build(stand_in, str(token_file)),
                (_program(), _program(duration_ns=160)),
                _program(duration_ns=240),
                Program("unheard-of", "x"),
                endless_shots=40_000,  # 200 s
                survives=True,
                begun=lambda: len(stand_in.executions()),
            )

    return behind


@pytest.fixture(scope="module")
def munge(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A libmunge; whoever uses it runs apart from tests of the real one."""
    if not load_munge_stand_in(tmp_path_factory.mktemp("munge")):
        pytest.skip("QRMI needs a libmunge for pasqal-local, and there is no compiler for one")
