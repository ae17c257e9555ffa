"""What a task asks of its QPU: a device, and what it has to have. Checked at admission."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.compatibility import that_meet
from qpu_executor.manager.service.fleet import Qpu
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.needs import QpuNeeds
from qpu_executor.programs.devices import device_json
from qpu_executor.qpus.base import Capabilities, DeviceDescription
from qpu_executor.testing.fake_qpu import FakeQpu

RATES = {"orion": 2.0, "twin": None, "open": 50.0, "old": 1.0}


def a_qpu(name: str, device: str | None, *, emulated: bool = False) -> Qpu:
    can = Capabilities(kinds=frozenset({"opaque"}), emulated=emulated)
    text = None if device is None else device_json(device)
    description = DeviceDescription(device or "something", text)
    return Qpu(name, "fake", FakeQpu(name, capabilities=can), description)


FLEET = [
    a_qpu("orion", "AnalogDevice"),
    a_qpu("twin", "AnalogDevice", emulated=True),
    a_qpu("open", "MockDevice", emulated=True),
    a_qpu("old", None),
]


def names(wishes: Wishes) -> list[str]:
    return [qpu.name for qpu in that_meet(wishes, FLEET, RATES.get)]


def test_without_a_wish_every_qpu_will_do() -> None:
    assert names(NO_WISHES) == ["orion", "twin", "open", "old"]


def test_device_is_any_qpu_that_is_one_hardware_or_not() -> None:
    assert names(Wishes(device="AnalogDevice")) == ["orion", "twin"]


@pytest.mark.parametrize(
    ("needs", "met_by"),
    [
        (QpuNeeds(min_qubits=80), ["orion", "twin", "open"]),
        (QpuNeeds(min_qubits=81), ["open"]),
        (QpuNeeds(dimensions=3), ["open"]),
        (QpuNeeds(channels=("rydberg_global",)), ["orion", "twin", "open"]),
        (QpuNeeds(min_sequence_s=6e-6), ["orion", "twin", "open"]),
        (QpuNeeds(min_sequence_s=7e-6), ["open"]),
        (QpuNeeds(emulated=False), ["orion", "old"]),
        (QpuNeeds(emulated=True, min_qubits=10), ["twin", "open"]),
        (QpuNeeds(min_shot_rate_hz=2.0), ["orion", "open"]),
    ],
)
def test_requirement_leaves_the_qpus_that_say_they_meet_it(
    needs: QpuNeeds, met_by: list[str]
) -> None:
    """An unlimited device meets any number; one that says nothing meets none."""
    assert names(Wishes(require=needs)) == met_by


def test_nothing_that_meets_it_is_refused_with_what_each_qpu_lacks() -> None:
    needs = QpuNeeds(emulated=False, min_shot_rate_hz=10.0, channels=("raman_local",))
    with pytest.raises(RequestRefused) as refused:
        names(Wishes(require=needs))
    told = str(refused.value)
    assert "orion: it has no channel raman_local (it has rydberg_global)" in told
    assert "it takes 2 shots a second, 10 are required" in told
    assert "twin: " in told
    assert "it is an emulator; its shot rate is unknown" in told
    assert "old: it doesn't describe its device" in told


def test_unknown_device_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequestRefused, match="did you mean 'AnalogDevice'"):
        names(Wishes(device="AnalogDevise"))


def test_wishes_that_a_task_doesnt_have_leave_the_identity_of_its_request_alone() -> None:
    """Keys that were used before these wishes existed go on naming their tasks."""

    def body(**options: Any) -> str:
        return NewTask(None, "0" * 64, 10, **options).body_hash()

    assert body() == "ccf8e9cea4c67593dcb926c9f4f9d5ff28f39941071f1e0021f2d2ef6c95bf83"
    assert body(wishes=Wishes(shot_s=1.0)) != body()
    assert body(wishes=Wishes(device="x")) != body(wishes=Wishes(require=QpuNeeds(min_qubits=1)))


def test_needs_are_read_back_as_they_were() -> None:
    needs = QpuNeeds(min_qubits=5, channels=("a", "b"), emulated=False)
    assert QpuNeeds.of_values(needs.values()) == needs
    assert QpuNeeds().values() == {}
