"""`qpu run` as a user starts it: both engines, failures, Ctrl-C, kill -9, and going on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CODE = """\
import os
import pathlib

import pulser


def sequence(duration_ns):
    register = pulser.Register.rectangle(1, 3, spacing=7.0, prefix="q")
    register = register.with_automatic_layout(pulser.AnalogDevice)
    found = pulser.Sequence(register, pulser.AnalogDevice)
    found.declare_channel("global", "rydberg_global")
    found.add(pulser.Pulse.ConstantPulse(int(duration_ns), 4, 0, 0), "global")
    return found


def durations(n):
    print("printed by a step")
    return [400 + 200 * i for i in range(n)]


def sweep(duration_ns):
    print("printed by a builder")
    return sequence(duration_ns)


def both(durations):
    return [sequence(duration) for duration in durations]


def loop(qpu, rounds, gate):
    \"\"\"Measures; after the second round waits for the gate's other end, if there is one.\"\"\"
    found = []
    for i in range(rounds):
        found.append(dict(qpu.run(sequence(400 + 100 * i)).counts))
        if i == 1 and gate and pathlib.Path(gate).exists():
            with open(gate, "w") as pipe:
                pipe.write("waiting")
            with open(gate) as pipe:
                pipe.read()
    return found


def total(sweep, both, loop):
    counts = [dict(result.counts) for result in [*sweep, *both]]
    return {"counts": counts, "loop": loop, "qpus": sorted({result.qpu for result in sweep})}


def broken(results):
    def inner():
        raise ZeroDivisionError("broken on purpose")

    inner()


def raw(results):
    return sequence

class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def unreadable(results):
    return Unreadable()
"""

FILE = """\
name: demo
seed: 11
inputs: {n: 2, gate: ""}
steps:
  durations: {call: engine_steps.durations, with: {n: ${inputs.n}}}
  sweep:
    quantum: engine_steps.sweep
    with: {duration_ns: ${each}}
    for_each: ${durations}
    shots: 20
    device: AnalogDevice
    require: {emulated: true, min_qubits: 3}
    time_limit_s: 600
  both:
    quantum: engine_steps.both
    with: {durations: [400, 600]}
    shots: 10
    stop_when: {min_shots: 6, distinct: 1}
  loop: {hybrid: engine_steps.loop, with: {rounds: 3, gate: ${inputs.gate}}, shots: 15}
  total: {call: engine_steps.total, with: {sweep: ${sweep}, both: ${both}, loop: ${loop}}}
answer: ${total}
"""

ENGINES = ("parsl", "dask")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "engine_steps.py").write_text(CODE)
    (tmp_path / "demo.yaml").write_text(FILE)
    return tmp_path


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("QPU_")}
    return subprocess.Popen(
        [sys.executable, "-m", "qpu_executor.cli.main", "run", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """Run with --json; standard output must hold exactly one document."""
    process = command(folder, *words, "--json")
    out, err = process.communicate(timeout=170)
    assert process.returncode == code, f"{out}\n{err}"
    document = json.loads(out)
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def on_parsl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of an untroubled run."""
    folder = tmp_path_factory.mktemp("untroubled")
    (folder / "engine_steps.py").write_text(CODE)
    (folder / "demo.yaml").write_text(FILE)
    return run(folder, "demo.yaml", "--engine", "parsl")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_same_file_and_seed_give_the_same_answer_on_both_engines(
    folder: Path, on_parsl: dict[str, Any]
) -> None:
    parsl, dask = on_parsl, run(folder, "demo.yaml", "--engine", "dask")
    assert parsl["answer"] == dask["answer"]
    for document in (parsl, dask):
        assert document["state"] == "done"
        assert {step["state"] for step in document["steps"]} == {"done"}
        assert sum(task["shots"] for task in document["tasks"]) == 2 * 20 + 2 * 10 + 3 * 15
        assert {task["step"] for task in document["tasks"]} == {"sweep", "both", "loop"}
        saved = {(task["step"], task["shots_saved"]) for task in document["tasks"]}
        assert saved == {("sweep", 0), ("both", 4), ("loop", 0)}
        assert all(task["state"] == "COMPLETED" for task in document["tasks"])
        assert document["qpu"]["worked_s"] > 0
    printed = Path(parsl["directory"], "output", "durations.txt").read_text()
    assert printed == "printed by a step\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES)
def test_failing_steps_name_the_users_lines_and_hide_nothing_else(
    folder: Path, engine: str
) -> None:
    text = FILE.replace(
        "answer:",
        "  one: {call: engine_steps.broken, with: {results: ${both}}}\n"
        "  two: {call: engine_steps.raw, with: {results: ${both}}, needs: [one]}\n"
        "  three: {call: engine_steps.unreadable, with: {results: ${both}}}\n"
        "  four: {quantum: engine_steps.broken, with: {results: 1}, shots: 3}\n"
        "answer:",
    )
    (folder / "demo.yaml").write_text(text)
    document = run(folder, "demo.yaml", "--engine", engine, code=1)
    steps = {step["name"]: step for step in document["steps"]}
    assert document["state"] == "failed"
    assert document["answer"] is not None
    assert steps["total"]["state"] == "done"
    assert (steps["two"]["state"], steps["two"]["needs"]) == ("not run", "one")
    for name in ("one", "four"):
        (error,) = steps[name]["errors"]
        assert "ZeroDivisionError: broken on purpose" in error["error"]
        assert 'engine_steps.py"' in error["error"]
        assert "in inner" in error["error"]
        assert "qpu_executor" not in error["error"]
    (error,) = steps["three"]["errors"]
    assert "can't be sent between processes" in error["error"]


LATE_RESULT = re.compile(
    r"exception calling callback (?:(?!exception calling callback).)*?"
    r"RuntimeError: cannot schedule new futures after (?:interpreter )?shutdown\n",
    re.DOTALL,
)
"""What concurrent.futures logs where a result comes while the interpreter ends."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill-9"])
def test_stopped_run_goes_on_without_repeating_finished_quantum_tasks(
    folder: Path, engine: str, how: signal.Signals, on_parsl: dict[str, Any]
) -> None:
    gate = folder / "gate"
    os.mkfifo(gate)
    process = command(folder, "demo.yaml", "--engine", engine, "--set", f"gate={gate}")
    with open(gate) as pipe:  # opens when the hybrid step has measured twice
        assert pipe.read() == "waiting"
    (directory,) = (folder / "runs").iterdir()
    wait_for(lambda: len(list(directory.glob("results/both/*.pickle"))) == 1)
    if how is signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    else:
        process.kill()
    out, err = process.communicate(timeout=150)
    gate.unlink()
    if how is signal.SIGINT:
        assert process.returncode == 130, err
        assert f"qpu run --resume {directory}" in out
        assert "Traceback" not in out + LATE_RESULT.sub("", err)
    document = run(folder, "demo.yaml", "--resume", "--engine", engine)
    assert document["state"] == "done"
    assert document["run"] == directory.name
    names = [task["name"] for task in document["tasks"] if task["state"] == "COMPLETED"]
    assert sorted(names) == sorted(set(names))
    assert sum(name.startswith("loop#") for name in names) == 3
    assert sum(name.startswith("both") for name in names) == 2
    assert sum(name.startswith("sweep") for name in names) == 2
    assert document["answer"] == on_parsl["answer"]


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing.yaml"], 2, "there is no such pipeline file"),
        (["demo.yaml", "--engine", "dsk"], 2, "did you mean 'dask'?"),
        (["demo.yaml", "--set", "m=3"], 2, "unknown input 'm'"),
        (["demo.yaml", "--profile", "nope"], 2, "there is no such profile"),
        (["demo.yaml", "--resume"], 2, "there is no run of"),
        (["--resume", "some-run"], 2, "--resume some-run: no such run in runs"),
        (["demo.yaml", "some-run"], 2, "unexpected word 'some-run'"),
        ([], 2, "no pipeline file is named"),
        (["demo.yaml", "--manager", "ftp://x"], 2, "is no address of a manager"),
    ],
)
def test_mistake_on_the_command_line_is_one_clear_message(
    folder: Path, words: list[str], code: int, said: str
) -> None:
    process = command(folder, *words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert said in err
    assert "Traceback" not in out + err


def test_dry_run_prints_the_plan_and_starts_nothing(folder: Path) -> None:
    document = run(folder, "demo.yaml", "--dry-run")
    assert [step["name"] for step in document["steps"]] == [
        "durations", "sweep", "both", "loop", "total",
    ]  # fmt: skip
    assert not (folder / "runs").exists()
