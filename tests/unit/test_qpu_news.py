from dataclasses import replace

from qpu_executor.manager.service.qpu_news import health_events, reported_state
from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.qpus.base import CalibrationStatus, Health

UP = Health(QpuState.UP)
BROKEN = Health(QpuState.DOWN, "a breakdown")
FIRST = CalibrationStatus("e0", since=5, due_at=100, quality=0.9)
SECOND = CalibrationStatus("e1", since=130, due_at=300, quality=0.95)
CALIBRATED = Health(QpuState.UP, calibration=FIRST)
CALIBRATING = Health(QpuState.DOWN, "calibrating", 130, CalibrationStatus(None, running=True))
AGAIN = Health(QpuState.UP, calibration=SECOND)


def test_nothing_is_told_where_nothing_changed():
    for health in (UP, BROKEN, CALIBRATED, CALIBRATING):
        assert health_events("q", health, health) == []
    assert health_events("q", UP, replace(UP, until=77)) == []


def test_a_closing_and_its_end_are_reported_states():
    assert health_events("q", UP, BROKEN) == [QpuReported("q", QpuState.DOWN, "a breakdown")]
    assert health_events("q", BROKEN, UP) == [QpuReported("q", QpuState.UP)]


def test_a_calibration_is_told_by_its_own_events_and_no_reported_state():
    assert reported_state(CALIBRATING) == (QpuState.UP, "")
    assert health_events("q", CALIBRATED, CALIBRATING) == [CalibrationStarted("q")]
    assert health_events("q", CALIBRATING, AGAIN) == [
        CalibrationEnded("q", "e1", 130, 0.95),
        CalibrationDue("q", "the QPU says so", 300),
    ]


def test_a_calibration_that_nobody_saw_is_told_by_its_epoch():
    assert health_events("q", CALIBRATED, AGAIN) == [
        CalibrationEnded("q", "e1", 130, 0.95),
        CalibrationDue("q", "the QPU says so", 300),
    ]


def test_a_qpu_that_joins_tells_its_epoch_and_no_state():
    assert health_events("q", None, UP) == []
    assert health_events("q", None, BROKEN) == []
    assert health_events("q", None, CALIBRATING) == [CalibrationStarted("q")]
    assert health_events("q", None, CALIBRATED) == [
        CalibrationEnded("q", "e0", 5, 0.9),
        CalibrationDue("q", "the QPU says so", 100),
    ]


def test_a_new_due_time_is_told_alone():
    later = replace(CALIBRATED, calibration=replace(FIRST, due_at=200))
    assert health_events("q", CALIBRATED, later) == [CalibrationDue("q", "the QPU says so", 200)]


def test_a_breakdown_during_a_calibration_is_told_when_it_is_over():
    broken = replace(BROKEN, calibration=SECOND)
    assert health_events("q", CALIBRATING, broken) == [
        QpuReported("q", QpuState.DOWN, "a breakdown"),
        CalibrationEnded("q", "e1", 130, 0.95),
        CalibrationDue("q", "the QPU says so", 300),
    ]


def test_a_quality_that_changes_within_an_epoch_is_reported():
    worse = replace(CALIBRATED, calibration=replace(FIRST, quality=0.85))
    assert health_events("q", CALIBRATED, worse) == [CalibrationReported("q", "quality", 0.85)]
    unknown = replace(CALIBRATED, calibration=replace(FIRST, quality=None))
    assert health_events("q", CALIBRATED, unknown) == []
    assert health_events("q", CALIBRATING, worse)[0] == CalibrationEnded("q", "e0", 5, 0.85)
