"""A user's script with Parsl's HighThroughputExecutor beside the QPUExecutor.

Run as a script, so that its functions travel to the workers by value, and the
workers know nothing of this package.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow]

TIMEOUT_S = 160

SCRIPT = """
import json, sys
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from qpu_executor.parsl import QPUExecutor, quantum_app

@parsl.python_app(executors=["cpu"])
def waveform(duration):
    from pulser.waveforms import InterpolatedWaveform
    return InterpolatedWaveform(duration, [0, 5, 0])

@parsl.python_app(executors=["cpu"])
def too_close():
    import pulser
    pulser.AnalogDevice.validate_register(pulser.Register({"q0": (0, 0), "q1": (1, 0)}))

@parsl.python_app(executors=["cpu"])
def full():
    class Full(Exception):
        def __init__(self, place, size):
            super().__init__(f"{place} holds {size}")
    raise Full("disk", 3)

@parsl.python_app(executors=["cpu"])
def unreadable():
    class Unreadable:
        def __reduce__(self):
            return divmod, (1, 0)
    return Unreadable()

@parsl.python_app(executors=["cpu"])
def total(result):
    return sum(result.counts.values())

@quantum_app(shots=12)
def play(wave):
    import pulser
    register = pulser.Register.rectangle(1, 2, spacing=6, prefix="q")
    register = register.with_automatic_layout(pulser.AnalogDevice)
    sequence = pulser.Sequence(register, pulser.AnalogDevice)
    sequence.declare_channel("global", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantDetuning(wave, 0, 0), "global")
    return sequence

def error_of(future):
    error = future.exception(120)
    return [type(error).__name__, str(error)]

if __name__ == "__main__":
    workers = HighThroughputExecutor(
        label="cpu", address="127.0.0.1", encrypted=False, max_workers_per_node=1,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(
        executors=[workers, QPUExecutor()], run_dir=sys.argv[1], initialize_logging=False
    )
    with parsl.load(config):
        wave = waveform(400)
        found = {
            "waveform": type(wave.result(120)).__name__,
            "too_close": error_of(too_close()),
            "full": error_of(full()),
            "unreadable": error_of(unreadable()),
            "total": total(play(wave)).result(120),
        }
    print(json.dumps(found))
"""


def test_values_that_do_not_unpickle_arrive_or_fail_and_the_workflow_goes_on(tmp_path):
    script = tmp_path / "workflow.py"
    script.write_text(SCRIPT)
    # HTEX starts its programs by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    environment.pop("QPU_MANAGER", None)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "runinfo")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["waveform"] == "InterpolatedWaveform"
    assert found["too_close"][0] == "DistanceError"
    assert "minimal distance between atoms" in found["too_close"][1]
    assert found["full"] == ["Full", "disk holds 3"]
    assert found["unreadable"][0] == "CallerError"
    assert "return plain values" in found["unreadable"][1]
    assert found["total"] == 12
