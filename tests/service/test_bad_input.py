"""What goes wrong with programs, devices and controllers, on a real manager: each time one
clear error on the task or on the QPU, and the queue lives on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulser
import pytest

from qpu_executor.client import Client
from qpu_executor.errors import ProgramError, ProgramRefused, TaskFailed
from qpu_executor.model.states import QpuState
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.sequences import line, small_sequence
from qpu_executor.wire.site import QpuDetail

SITE = """
manager: {{listen: {listen}, store: store.sqlite, health_every_s: 0.1}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 0.5}}
qpus:
  fresnel:
    kind: pasqal-controller
    url: '@url'
    shot_rate_hz: 100
    answer_s: 0.5
    accept_s: 1
    silence_s: 0.5
    specs_every_s: 0.01
    lost_after_s: 1
"""

SHOTS = 60


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    found = ControllerProcess(tmp_path, "--coins", "--shot-s", "0.005")
    found.start()
    found.control("specs", {"requires_layout": False})
    yield found
    found.close()


@pytest.fixture
def client(make_manager: Any, controller: ControllerProcess) -> Iterator[Client]:
    manager = make_manager(site=SITE.replace("@url", controller.url))
    manager.start()
    with manager.connect() as found:
        yield found


def lives_on(client: Client, **options: Any) -> None:
    """The next task is done, whatever happened before."""
    result = client.submit(small_sequence(), SHOTS, **options).result(timeout=120)
    assert sum(result.counts.values()) == result.shots == SHOTS


def wait_for(client: Client, wanted: Callable[[QpuDetail], bool]) -> QpuDetail:
    """Look at the QPU until it is so; the test's own time limit ends this."""
    while not wanted(found := client.qpu("fresnel")):
        time.sleep(0.02)  # it changes with the manager's next look
    return found


def parametrised() -> Any:
    sequence = small_sequence(measured=False)
    amplitude = sequence.declare_variable("amplitude", dtype=float)
    sequence.add(pulser.Pulse.ConstantPulse(100, amplitude, 0.0, 0.0), "ising")
    return sequence


def test_programs_that_can_t_run_are_refused_at_submission_each_with_its_reason(
    client: Client,
) -> None:
    with pytest.raises(ProgramError, match="amplitude"):
        client.submit(parametrised(), SHOTS)
    too_close = small_sequence(pulser.MockDevice, atoms=line(2, 3.0), layout=False)
    with pytest.raises(ProgramRefused, match=r"AnalogDevice.*at least 5 um") as close:
        client.submit(too_close, SHOTS)
    assert close.value.rule == "min_atom_distance"
    (qpu,) = client.qpus()
    assert close.value.next_step is not None
    assert close.value.next_step.endswith(f"qpu info {qpu.name} --device")
    with pytest.raises(ProgramRefused, match="AnalogDevice"):
        client.submit(small_sequence(pulser.MockDevice, duration_ns=9000), SHOTS)
    with pytest.raises(ProgramError):
        client.submit("<html>no sequence</html>", SHOTS)
    assert client.tasks() == []
    lives_on(client)


def test_a_device_that_moved_fails_the_task_that_waits_and_refuses_the_next_alike(
    client: Client, controller: ControllerProcess
) -> None:
    crowded = small_sequence(atoms=line(3, 5.5), layout=False)
    before = client.submit(crowded, SHOTS, held=True)
    fits = client.submit(small_sequence(layout=False), SHOTS, held=True)
    controller.control("specs", {"min_atom_distance": 5.8, "pre_calibrated_layouts": []})
    client.release_tasks([before.id, fits.id])
    with pytest.raises(TaskFailed, match=r"at least 5\.8 um") as failed:
        before.result(timeout=120)
    assert failed.value.permanent
    assert fits.result(timeout=120).shots == SHOTS


@pytest.mark.parametrize("do", ["html", "hang", "garbage", "drop"])
def test_a_controller_that_talks_nonsense_or_nothing_is_told_on_the_qpu_and_loses_no_shot(
    client: Client, controller: ControllerProcess, do: str
) -> None:
    lives_on(client)
    delay = {"delay_s": 3600} if do == "hang" else {}
    controller.control("faults", [{"do": do, **delay}])
    waiting = client.submit(small_sequence(), SHOTS)
    told = wait_for(client, lambda qpu: qpu.state is not QpuState.UP)
    assert told.status_reason
    assert "\n" not in told.status_reason
    assert "Traceback" not in told.status_reason
    assert not waiting.state.final
    controller.control("faults", [])
    assert waiting.result(timeout=90).shots == SHOTS
    lives_on(client)


def test_a_controller_that_forgets_its_job_is_on_record_and_the_shots_are_taken_again(
    client: Client, controller: ControllerProcess
) -> None:
    controller.control("machine", {"shot_s": 0.2})  # its first chunk would take 10 s
    task = client.submit(small_sequence(), SHOTS)
    while not any(line["event"] == "began" for line in controller.ledger):
        time.sleep(0.01)  # until it runs
    controller.control("forget")
    controller.control("machine", {"shot_s": 0.001})
    assert task.result(timeout=120).shots == SHOTS
    lost = [one for one in client.task_detail(task.id).chunks if one.state == "LOST"]
    assert len(lost) == 1
    assert lost[0].shots_counted == 0
    lives_on(client)


def test_counts_that_can_t_be_right_are_never_counted_and_end_the_task_with_their_reason(
    client: Client, controller: ControllerProcess
) -> None:
    controller.control("machine", {"results": "fewer", "shot_s": 0.001})
    task = client.submit(small_sequence(), SHOTS)
    with pytest.raises(TaskFailed, match=r"faults in a row on fresnel.*were asked") as failed:
        task.result(timeout=120)
    assert not failed.value.permanent
    assert "\n" not in str(failed.value)
    assert {one.shots_counted for one in client.task_detail(task.id).chunks} == {0}
    controller.control("machine", {"results": "right"})
    lives_on(client)


MISSING = """
import importlib.abc
import sys


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "qrmi":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""

WITHOUT = """
manager: {{listen: {listen}, store: store.sqlite, health_every_s: 0.2}}
default_class: development
job_classes: {{development: {{priority: 100, chunk_s: 0.5}}}}
qpus:
  fresnel: {{kind: pasqal-controller, url: '@url', shot_rate_hz: 100}}
  unreached: {{kind: pasqal-controller, url: 'http://127.0.0.1:9', answer_s: 0.5}}
  ibm:
    kind: qrmi
    resource: stand_in
    type: ibm-quantum-compute-service
    environment: {{QRMI_IBM_QCS_ENDPOINT: 'http://127.0.0.1:9'}}
"""


def test_a_wheel_that_isn_t_installed_or_a_machine_that_is_away_closes_one_qpu_of_the_site(
    make_manager: Any,
    controller: ControllerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(MISSING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    manager = make_manager(site=WITHOUT.replace("@url", controller.url))
    manager.start()
    with manager.connect() as client:
        qpus = {qpu.name: qpu for qpu in client.qpus()}
        assert {name: qpu.state for name, qpu in qpus.items()} == {
            "fresnel": QpuState.UP,
            "unreached": QpuState.DOWN,
            "ibm": QpuState.DOWN,
        }
        assert "pip install 'qpu-executor[qrmi]'" in (qpus["ibm"].status_reason or "")
        with pytest.raises(ProgramRefused, match=r"QPU ibm is down: it couldn't be opened"):
            client.submit(small_sequence(), SHOTS, qpu="ibm")
        lives_on(client)
        lives_on(client, qpu="fresnel")
    assert "Traceback" not in manager.log
