"""What `qpu info` prints of QPUs, classes and devices. No manager."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from qpu_executor.cli.info_text import class_table, device_text, qpu_table, qpu_text
from qpu_executor.errors import ConfigError
from qpu_executor.programs.device_files import device_in, differences, read_devices
from qpu_executor.programs.devices import device_json
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.policy import WindowOut
from qpu_executor.wire.site import CalibrationOut, CanOut, JobClassOut, QpuOut

PLACE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=PLACE)
ANALOG = json.loads(device_json("AnalogDevice"))


def later(seconds: float) -> datetime:
    return (NOW + timedelta(seconds=seconds)).astimezone(UTC)


def a_qpu(**changes: Any) -> QpuOut:
    fields: dict[str, Any] = {
        "name": "alpha",
        "kind": "pasqal-controller",
        "status": "online",
        "status_reason": None,
        "healthy": True,
        "busy": True,
        "capacity": {"available_slots": 0, "max_slots": 1},
        "pending_job_count": 7,
        "state": "UP",
        "device": "AnalogDevice",
        "emulated": False,
        "max_chunk_shots": 2000,
        "shot_rate_hz": 4.5,
        "running": [17],
    }
    return QpuOut(**fields | changes)


KNOWN = {
    "shot_rate_measured": True,
    "calibration": CalibrationOut(
        epoch="cal-3",
        since=later(-3720),
        age_s=3720,
        due_at=later(600),
        running=False,
        overdue=False,
        quality=0.97,
    ),
    "next_window": WindowOut(
        qpu="alpha", name="laser", kind="maintenance", starts_at=later(60), ends_at=later(120)
    ),
    "job_classes": ["development"],
    "can": CanOut(
        kinds=["pulser-abstract"],
        min_chunk_shots=1,
        partial_results=False,
        can_ask=True,
        seeded=False,
        can_calibrate=False,
        setup_s=2,
        switch_s=0,
        layout_s=30,
    ),
    "limits": {"partial_results": "a cancelled job gives no shots"},
}
CLASSES = [
    JobClassOut(
        name="production", priority=300, chunk_s=30, max_shots=None, description="", default=False
    ),
    JobClassOut(
        name="development",
        priority=100,
        chunk_s=10,
        max_shots=5000,
        description="short runs",
        default=True,
        max_running=2,
        qpu_s_per_day=3600,
    ),
]


def test_the_table_shows_rate_calibration_and_window_and_marks_what_is_unknown() -> None:
    head, one, other = qpu_table(
        [a_qpu(**KNOWN), a_qpu(name="beta", shot_rate_hz=None, running=[])], NOW
    ).splitlines()
    assert head.split() == [
        *("QPU", "STATE", "DEVICE", "BUSY", "WAITING", "SHOTS/S", "CALIBRATED", "WINDOW", "REASON")
    ]
    assert " 4.5 " in one
    assert "1:02:00 ago" in one
    assert "maintenance 14:01:00" in one
    assert other.split() == ["beta", "UP", "AnalogDevice", "1/1", "7", "-", "-", "-", "-"]
    assert "~4.5" in qpu_table([a_qpu()], NOW)


def test_one_qpu_in_full_names_its_classes_limits_and_what_it_can_t() -> None:
    text = qpu_text(a_qpu(**KNOWN), CLASSES, NOW)
    for said in (
        "UP (online)",
        "yours: 17",
        "4.5, measured",
        "12:58:00 (1:02:00 ago); due 14:10:00 (in 10:00)",
        "cal-3",
        "maintenance laser, 14:01:00 (in 1:00) to 14:02:00 (in 2:00)",
        "shots: 1 to 2000; setup 2.0 s, another layout 30.0 s",
        "can be asked about a chunk",
        "partial_results: a cancelled job gives no shots",
    ):
        assert said in text
    assert "production" not in text, "its class may not run here"
    assert text.splitlines()[-1].split() == [
        *("development*", "100", "10", "5000", "-", "2", "3600", "short", "runs")
    ]


def test_an_older_manager_s_answer_is_shown_without_what_it_doesn_t_say() -> None:
    text = qpu_text(a_qpu(state="DOWN", status="offline", status_reason="laser"), CLASSES, NOW)
    assert "DOWN (offline): laser" in text
    assert "nobody calibrates it" in text
    assert "programs" not in text
    assert "CLASS" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"running": True}, "now"),
        ({"overdue": True}, "1:02:00 ago, overdue"),
        ({"age_s": None, "since": None}, "unknown"),
    ],
)
def test_a_calibration_that_runs_is_late_or_unknown_is_said(
    changes: dict[str, Any], said: str
) -> None:
    found = KNOWN["calibration"]
    assert isinstance(found, CalibrationOut)
    one = a_qpu(calibration=found.model_copy(update=changes))
    assert f"  {said}  " in qpu_table([one], NOW)


def test_a_device_is_shown_with_its_limits_and_channels() -> None:
    text = device_text(ANALOG)
    assert "device AnalogDevice" in text
    assert "  closest atoms  5 um" in text
    assert "  longest run    6000 ns" in text
    assert text.splitlines()[-1].split()[:3] == ["rydberg_global", "ground-rydberg", "Global"]
    assert "no limit" in device_text({"name": "Virtual"})


def test_classes_are_marked_and_have_their_limits() -> None:
    assert "development*" in class_table(CLASSES)
    assert "QPU_S/DAY" in class_table(CLASSES)


def test_two_equal_devices_don_t_differ_whoever_wrote_them() -> None:
    other = ANALOG | {"pulser_version": "1.8.0", "dmm_objects": []}
    assert differences(ANALOG, other) == []


def test_a_device_that_moved_differs_member_by_member() -> None:
    moved = json.loads(json.dumps(ANALOG | {"min_atom_distance": 6.5}))
    moved["channels"][0]["max_amp"] = 1.0
    found = differences(ANALOG, moved)
    assert found[0] == "min_atom_distance: 5 here, 6.5 there"
    assert found[1].startswith("channels.rydberg_global.max_amp: 12.5")
    assert len(found) == 2
    lost = differences(ANALOG, ANALOG | {"channels": []})
    assert [one.split(":")[0] for one in lost] == ["channels.rydberg_global"]


def test_a_device_is_found_in_its_own_file_and_in_a_sequence() -> None:
    sequence = small_sequence().to_abstract_repr()
    assert device_in(sequence, "s") == device_in(json.dumps(ANALOG), "d") == ANALOG


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"device": 3}', "[" * 100_000])
def test_what_holds_no_device_is_one_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"file\.json: .*expected"):
        device_in(text, "file.json")


def test_a_device_that_pulser_can_t_read_names_the_qpu() -> None:
    assert read_devices({"a": json.dumps(ANALOG), "b": None})["a"].name == "AnalogDevice"
    with pytest.raises(ConfigError, match=r"device of QPU b.*qpu doctor"):
        read_devices({"b": "{}"})
