"""Why, shares, estimates and operators' requests, over a real connection."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qpu_executor.client import TaskOrder
from qpu_executor.errors import ConfigError, QpuExecutorError, RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.policy import WindowRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
fair_share: {{half_life_s: 3600}}
accounts:
  physics: {{shares: 3}}
  chemistry: {{shares: 1, qpu_s: 1}}
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30, min_share: 0.2}}
  development: {{priority: 100, chunk_s: 10, max_queued: 3}}
qpus:
  emulator:
    kind: pulser-emulator
    device: AnalogDevice
    workers: 1
    windows:
      - {{name: service, at: "@later", length_s: 1}}
""".replace("@later", f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}")
"""Its window is half a day away from the tests, whenever they run."""


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture
def managed(make_manager: Callable[..., Any]) -> Any:
    manager = make_manager(site=SITE)
    manager.start()
    return manager


def test_drained_qpu_makes_tasks_wait_and_why_says_so(managed: Any, program: Program) -> None:
    with managed.connect() as client:
        drained = client.drain("emulator", "laser service")
        assert (drained.state, drained.status_reason) == ("DRAINING", "laser service")
        first = client.submit(program, 20)
        second = client.submit(program, 30)
        why = client.why(second.id)
        assert why.reason == "QPUDraining"
        assert "laser service" in why.detail
        assert (why.rank, why.ahead_total) == (2, 1)
        (ahead,) = why.ahead
        assert (ahead.task, ahead.owner, ahead.remaining_shots) == (
            first.id,
            getpass.getuser(),
            20,
        )
        assert why.expected_start is None, "nobody knows when the QPU is open again"
        assert {part.name for part in why.priority} >= {"class", "band", "account", "work", "age"}
    managed.kill()
    managed.start()
    with managed.connect() as client:
        assert client.why(second.id).reason == "QPUDraining", "a drain survives the manager"
        client.resume("emulator")
        assert client.task(second.id).result(timeout=120).shots == 30
        assert client.why(second.id).expected_start is None


def test_wishes_reach_the_task_and_come_back(managed: Any, program: Program) -> None:
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    with managed.connect() as client:
        first = client.submit(program, 20, held=True)
        (task,) = client.submit_many(
            [TaskOrder(program, 20, begin_at=begin, depends_on=(first.id,), time_limit_s=60)]
        )
        wishes = task.info.wishes
        assert wishes is not None
        assert (wishes.begin_at, wishes.time_limit_s) == (begin, 60)
        assert [one.task for one in wishes.depends_on] == [first.id]
        assert client.why(task.id).reason == "Dependency"
        first.release()
        first.result(timeout=120)
        why = client.why(task.id)
        assert (why.reason, why.rank) == ("BeginTime", None)
        with pytest.raises(RequestRefused, match="no task 4242"):
            client.submit(program, 20, depends_on=(4242,))
        with pytest.raises(RequestRefused, match="begin_at"):
            client.submit(program, 20, begin_at=datetime(2030, 1, 1))


def test_limits_are_refused_with_their_numbers(managed: Any, program: Program) -> None:
    with managed.connect() as client:
        answers = client.submit_each([TaskOrder(program, 5, held=True) for _ in range(4)])
        assert isinstance(answers[3], RequestRefused)
        assert "3 are allowed" in str(answers[3])
        estimate = client.estimate(program, 5)
        assert estimate.refusal is not None
        assert estimate.refusal.code == RequestRefused.code
        fine = client.estimate(program, 5, job_class="production")
        assert (fine.refusal, fine.qpus) == (None, ["emulator"])


def test_shares_name_accounts_classes_and_prices(managed: Any, program: Program) -> None:
    with managed.connect() as client:
        client.submit(program, 200, account="physics").result(timeout=120)
        shares = client.shares()
        lines = {(one.account, one.user): one for one in shares.accounts}
        assert lines["physics", None].share == 0.75
        assert lines["physics", getpass.getuser()].usage_qpu_s > 0
        assert {one.name: one.min_share for one in shares.classes} == {
            "production": 0.2,
            "development": 0.0,
        }
        assert shares.charging["lost"] == 0.0
        assert shares.half_life_s == 3600
        window = client.windows()[0]
        assert (window.qpu, window.name[:7], window.kind) == ("emulator", "service", "maintenance")


def test_reload_takes_a_good_file_and_refuses_a_bad_one(managed: Any, program: Program) -> None:
    site = managed.directory / "site.yaml"
    text = SITE.format(listen=json.dumps([managed.url]))
    with managed.connect() as client:
        held = client.submit(program, 20, held=True)
        site.write_text(text.replace("priority: 300", "priority: three hundred"))
        with pytest.raises(QpuExecutorError) as caught:
            client.reload_policy()
        assert isinstance(caught.value, ConfigError)
        assert "priority" in str(caught.value)
        site.write_text("policy: fifo\n" + text.replace("max_queued: 3", "max_queued: 1"))
        changed = client.reload_policy()
        assert changed.policy == "fifo"
        assert set(changed.changed) == {"policy", "job classes"}
        with pytest.raises(RequestRefused, match="1 are allowed"):
            client.submit(program, 20)
        assert client.task(held.id).state is TaskState.HELD
        held.release()
        assert held.result(timeout=120).shots == 20
        assert client.reload_policy().changed == []


def closed_now(**fields: Any) -> WindowRequest:
    start = datetime.now(UTC) - timedelta(minutes=1)
    values = {"name": "helium", "at": start.time().isoformat(), "length_s": 3600.0}
    return WindowRequest.model_validate({**values, "on": start.date().isoformat(), **fields})


def test_announced_window_closes_the_qpu_outlives_the_manager_and_is_taken_back(
    managed: Any, program: Program
) -> None:
    with managed.connect() as client:
        (found,) = [
            one for one in client.announce_window("emulator", closed_now()) if one.announced_by
        ]
        assert (found.name, found.announced_by) == ("helium", getpass.getuser())
        task = client.submit(program, 20)
        why = client.why(task.id)
        assert (why.reason, "helium" in why.detail) == ("Maintenance", True)
    managed.kill()
    managed.start()
    with managed.connect() as client:
        assert client.why(task.id).reason == "Maintenance"
        left = client.withdraw_window("emulator", "helium")
        assert {one.announced_by for one in left} == {None}
        assert client.task(task.id).result(timeout=120).shots == 20


def test_reservation_lets_in_whom_it_is_for(managed: Any, program: Program) -> None:
    with managed.connect() as client:
        for_physics = closed_now(kind="reservation", account="physics")
        client.announce_window("emulator", for_physics)
        other = client.submit(program, 20, account="biology")
        assert client.submit(program, 20, account="physics").result(timeout=120).shots == 20
        assert client.why(other.id).reason == "Reservation"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "service"}, "the site file has a window 'service'"),
        ({"on": "2020-01-01"}, "over already"),
        ({"kind": "reservation", "job_class": "productoin"}, "production"),
    ],
)
def test_impossible_window_is_refused(managed: Any, fields: dict[str, Any], said: str) -> None:
    with managed.connect() as client, pytest.raises(RequestRefused, match=said):
        client.announce_window("emulator", closed_now(**fields))


def test_windows_that_cant_be_taken_back_say_why(managed: Any) -> None:
    with managed.connect() as client:
        with pytest.raises(RequestRefused, match="site file"):
            client.withdraw_window("emulator", "service")
        client.announce_window("emulator", closed_now())
        with pytest.raises(RequestRefused, match="did you mean 'helium'"):
            client.withdraw_window("emulator", "heluim")


def test_reload_takes_windows_in(managed: Any, program: Program) -> None:
    site = managed.directory / "site.yaml"
    text = SITE.format(listen=json.dumps([managed.url]))
    start = datetime.now(UTC) - timedelta(minutes=1)
    closed = f'{{name: leak, at: "{start.time()}", on: {start.date()}, length_s: 3600}}'
    with managed.connect() as client:
        site.write_text(text.replace("    windows:\n", f"    windows:\n      - {closed}\n"))
        assert client.reload_policy().changed == ["windows of emulator"]
        task = client.submit(program, 20)
        assert client.why(task.id).reason == "Maintenance"
        site.write_text(text)
        assert client.reload_policy().changed == ["windows of emulator"]
        assert task.result(timeout=120).shots == 20


def test_what_an_emulator_cant_do_is_refused(managed: Any) -> None:
    with managed.connect() as client, pytest.raises(RequestRefused, match="calibration"):
        client.calibrate("emulator")


def test_device_and_requirements_are_kept_with_the_task_and_refused_with_reasons(
    managed: Any, program: Program
) -> None:
    with managed.connect() as client:
        client.drain("emulator", "laser service")
        needs = {"min_qubits": 50, "channels": ["rydberg_global"], "emulated": True}
        task = client.submit(program, 20, device="AnalogDevice", require=needs)
        with pytest.raises(RequestRefused, match="it is an emulator"):
            client.submit(program, 20, require={"emulated": False})
        with pytest.raises(RequestRefused, match="did you mean 'AnalogDevice'"):
            client.submit(program, 20, device="AnalogDevise")
        with pytest.raises(RequestRefused, match=r"require\.min_qbits"):
            client.submit(program, 20, require={"min_qbits": 5})
    managed.kill()
    managed.start()
    with managed.connect() as client:
        wishes = client.task(task.id).info.wishes
        assert wishes.device == "AnalogDevice"
        assert wishes.require.model_dump(exclude_defaults=True) == needs
