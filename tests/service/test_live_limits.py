"""A real manager: what limits and classes refuse, as a user reads it."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.client import TaskOrder
from qpu_executor.errors import RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 40
default_class: development
policy: {{kind: banded, age_cap_s: 3600}}
accounts:
  students: {{qpu_s: 60}}
job_classes:
  production: {{priority: 300, qpus: [rehearsal]}}
  development: {{priority: 100, max_queued: 2, qpus: [rehearsal], fallback: [stand-in]}}
qpus:
  stand-in: {{kind: simulated-qpu, shot_rate_hz: 5}}
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5}}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


def test_limits_refuse_with_their_numbers_and_the_rest_runs(
    make_manager: Any, program: Program
) -> None:
    served = make_manager(site=SITE)
    served.start()
    with served.connect() as client:
        held = [client.submit(program, 20, held=True) for _ in range(2)]
        with pytest.raises(RequestRefused, match="2 and 1 more, 2 are allowed"):
            client.submit(program, 20)
        held[0].cancel()
        with pytest.raises(RequestRefused, match=r"account 'students'.* 0 and 80 more, 60 are"):
            client.submit(program, 400, job_class="production", account="students")
        with pytest.raises(RequestRefused, match="class 'production' may not use QPU stand-in"):
            client.submit(program, 20, job_class="production", qpu="stand-in")
        held[1].release()
        assert held[1].result(timeout=120).qpu in ("rehearsal", "stand-in")
        assert held[1].refresh().state is TaskState.COMPLETED


def test_class_prefers_its_qpus_and_falls_back_when_they_are_busy(
    make_manager: Any, program: Program
) -> None:
    served = make_manager(site=SITE)
    served.start()
    with served.connect() as client:
        tasks = client.submit_many([TaskOrder(program, 100, key=f"k{n}") for n in range(2)])
        first, second = (task.result(timeout=120).chunks[0].qpu for task in tasks)
        assert (first, second) == ("rehearsal", "stand-in")
