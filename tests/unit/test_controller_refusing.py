"""A controller that is up and takes no job: whose fault it is, and when it is tried again."""

from __future__ import annotations

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS
from qpu_executor.qpus.pasqal_controller.refusing import Refusing

S = MICROSECONDS


def pause_s(refusing: Refusing, now_s: int) -> float:
    """For how long it is DOWN from now on."""
    found = refusing.health(now_s * S)
    if found is None:
        return 0.0
    assert found.state is QpuState.DOWN
    assert found.until is not None
    return (found.until - now_s * S) / S


def test_it_is_down_for_a_while_and_then_tried_again() -> None:
    refusing = Refusing()
    assert refusing.health(0) is None
    refusing.refused(1, "HTTP 500", 10 * S)
    down = refusing.health(10 * S)
    assert down is not None
    assert down.reason.endswith("takes no job: HTTP 500")
    assert refusing.health(11 * S) is None


def test_two_tasks_that_are_not_taken_show_that_it_is_the_controller_for_as_long_as_it_lasts() -> (
    None
):
    refusing, pauses = Refusing(), []
    for n in range(20):
        refusing.refused(1 + n % 2, "HTTP 500", 1000 * n * S)
        pauses.append(pause_s(refusing, 1000 * n))
    assert pauses == [1, 2, 4, 8, 16, 32, *[60] * 14]


def test_a_program_that_alone_is_not_taken_is_to_blame_after_a_minute() -> None:
    refusing, pauses = Refusing(), []
    for n in range(9):
        refusing.refused(1, "HTTP 500", 1000 * n * S)
        pauses.append(pause_s(refusing, 1000 * n))
    assert pauses == [1, 2, 4, 8, 16, 32, 0, 0, 0]


def test_a_job_that_is_taken_clears_it() -> None:
    refusing = Refusing()
    for task in (1, 2, 1):
        refusing.refused(task, "HTTP 500", 0)
    refusing.took()
    assert refusing.health(0) is None
    refusing.refused(1, "HTTP 500", 0)
    assert pause_s(refusing, 0) == 1
