"""What every ordering policy has to pass.

Whatever is registered in the entry point group `qpu_executor.policies` is tried, by name:

    python -m pytest --pyargs qpu_executor.testing.contracts.policy -k quick-first
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.manager.service.policies import build_policy, interface_mismatch, known_policies
from qpu_executor.model.events import (
    ChunkFinished,
    ClassesChanged,
    Event,
    QpuRegistered,
    TaskCancelAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import MICROSECONDS, JobClass, QpuSpec
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

NAMES = ("production", "test", "development")


@pytest.fixture(params=sorted(known_policies()))
def policy(request: pytest.FixtureRequest) -> str:
    """The name of a policy that is installed."""
    name: str = request.param
    return name


def events(driver: CoreDriver) -> Iterator[Event]:
    """Three QPU-hours of thirty tasks of three classes and accounts, one of them cancelled."""
    yield ClassesChanged(tuple(JobClass(name, 30 - 10 * i) for i, name in enumerate(NAMES)))
    for name in ("alpha", "beta"):
        yield QpuRegistered(QpuSpec(name, shot_rate_hz=5.0))
    for task_id in range(1, 31):
        yield TaskSubmitted(
            task_spec(
                task_id,
                job_class=NAMES[task_id % 3],
                account=f"account-{task_id % 2}",
                owner=f"user-{task_id % 5}",
                shots=50 + 37 * task_id % 400,
                qpus=("alpha", "beta")[: 1 + task_id % 2],
                priority=task_id % 3 - 1,
                deadline_at=7200 * MICROSECONDS if task_id % 7 == 0 else None,
                path_s=100.0 * task_id if task_id % 4 == 0 else None,
                submitted_at=driver.now,
            )
        )
    yield TaskCancelAsked(30)
    while driver.out:
        chunk, start = next(iter(driver.out.items()))
        driver.now += start.shots * MICROSECONDS
        yield ChunkFinished(chunk, start.shots, start.shots / 1.0)
        wakeup = driver.scheduler.next_wakeup()
        if wakeup is not None and wakeup <= driver.now:
            yield WokenUp()


def test_every_task_ends_and_the_core_stays_consistent(policy: str) -> None:
    driver = CoreDriver(Scheduler(ordering=build_policy(policy, {})))
    for event in events(driver):
        driver.post(event)  # checks the laws and every index after each event
    states = {task_id: book.state for task_id, book in driver.tasks.items()}
    assert states.pop(30) is TaskState.CANCELLED
    assert set(states.values()) == {TaskState.COMPLETED}


def test_equal_events_give_equal_commands(policy: str) -> None:
    driver = CoreDriver(Scheduler(ordering=build_policy(policy, {})))
    twin = Scheduler(ordering=build_policy(policy, {}))
    for event in events(driver):
        assert driver.post(event) == twin.handle(event, driver.now)


def test_two_of_a_kind_share_no_memory(policy: str) -> None:
    first, second = (Scheduler(ordering=build_policy(policy, {})) for _ in range(2))
    used = CoreDriver(first)
    for event in events(used):
        used.post(event)
    fresh = CoreDriver(second)
    later = Scheduler(ordering=build_policy(policy, {}))
    for event in events(fresh):
        assert fresh.post(event) == later.handle(event, fresh.now)


def test_it_fits_the_interface(policy: str) -> None:
    assert interface_mismatch(build_policy(policy, {})) is None


def test_unknown_setting_is_refused(policy: str) -> None:
    with pytest.raises(ConfigError, match="it has no setting 'no_such_setting'"):
        build_policy(policy, {"no_such_setting": 1})
