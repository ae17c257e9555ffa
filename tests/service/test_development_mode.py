"""Development on an emulator for a production device; production is one word away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pulser
import pytest

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
default_class: development
job_classes:
  production: {{priority: 300, qpus: [machine]}}
  development: {{priority: 100, qpus: [sandbox], device_of: machine}}
  playground: {{priority: 1, qpus: [sandbox]}}
qpus:
  machine: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 100}}
  sandbox:
    kind: pulser-emulator
    device: AnalogDevice
    device_overrides: {{max_sequence_duration: 20000}}
    workers: 1
"""

PATIENT = replace(pulser.AnalogDevice, max_sequence_duration=20_000)
"""A device that takes longer sequences than the machine."""


@pytest.fixture
def managed(make_manager: Callable[..., Any]) -> Any:
    manager = make_manager(site=SITE)
    manager.start()
    return manager


def test_what_fits_the_machine_runs_in_both_modes_and_says_where(managed: Any) -> None:
    program = to_program(small_sequence())
    with managed.connect() as client:
        tried = client.submit(program, 10).result(timeout=120)
        assert (tried.qpu, tried.emulated) == ("sandbox", True)
        meant = client.submit(program, 10, job_class="production").result(timeout=120)
        assert (meant.qpu, meant.device, meant.shots) == ("machine", "AnalogDevice", 10)


def test_what_only_the_sandbox_could_run_is_refused_in_development(managed: Any) -> None:
    program = to_program(small_sequence(device=PATIENT, duration_ns=8000))
    with managed.connect() as client:
        with pytest.raises(ProgramRefused, match="wouldn't run on QPU machine") as caught:
            client.submit(program, 10)
        assert caught.value.rule
        played = client.submit(program, 10, job_class="playground")
        assert played.result(timeout=120).qpu == "sandbox"
