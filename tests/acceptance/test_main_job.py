"""The main job as a person runs it: the same file on every engine, embedded and served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "workflows" / "transmitters" / "pipeline.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(directory: Path, *options: str, pipeline: Path = PIPELINE) -> dict[str, Any]:
    """`qpu run --json`; the one document that it prints."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "qpu_executor.cli.main", "run", str(pipeline)),
            *("--directory", str(directory), "--json", *options),
        ],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def embedded_parsl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("parsl"), "--engine", "parsl")


def test_the_physics_finds_the_optimum(embedded_parsl: dict[str, Any]) -> None:
    answer = embedded_parsl["answer"]
    assert answer["optimal"] is True
    assert answer["size"] == answer["optimum_size"]
    assert answer["hit_rate"] >= 5 * answer["random_rate"], "unrepaired shots against random bits"


def test_the_document_says_what_ran_where_and_when(embedded_parsl: dict[str, Any]) -> None:
    document = embedded_parsl
    assert document["state"] == "done"
    assert document["engine"] == "parsl"
    assert document["seed"] == 7
    assert [step["name"] for step in document["steps"]] == [
        *("airports", "graph", "sweep", "best", "report")
    ]
    assert {step["state"] for step in document["steps"]} == {"done"}
    assert [task["shots"] for task in document["tasks"]] == [300, 300, 300]
    for task in document["tasks"]:
        assert task["step"] == "sweep"
        assert task["state"] == "COMPLETED"
        assert task["qpu"] == "emulator"
        assert task["submitted_at"] <= task["started_at"] <= task["ended_at"]


def test_the_report_is_a_page_of_its_own(embedded_parsl: dict[str, Any]) -> None:
    report = Path(embedded_parsl["report"])
    page = report.read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "nothing is fetched from elsewhere"


def test_dask_gives_the_same_answer(tmp_path: Path, embedded_parsl: dict[str, Any]) -> None:
    document = run(tmp_path, "--engine", "dask")
    assert document["engine"] == "dask"
    assert document["answer"] == embedded_parsl["answer"]


def test_a_served_manager_over_tcp_gives_the_same_answer(
    tmp_path: Path, tcp_manager: Any, embedded_parsl: dict[str, Any]
) -> None:
    document = run(tmp_path, "--manager", tcp_manager.url)
    assert document["answer"] == embedded_parsl["answer"]


def test_the_closed_loop_converges_and_repeats_itself(tmp_path: Path, tcp_manager: Any) -> None:
    pipeline = ROOT / "workflows" / "pulse_tuning" / "pipeline.yaml"
    first = run(tmp_path, "--manager", tcp_manager.url, pipeline=pipeline)
    assert first["answer"]["converged"] is True
    assert first["answer"]["cost"] < first["answer"]["start_cost"]
    again = run(tmp_path, "--manager", tcp_manager.url, pipeline=pipeline)
    assert again["answer"] == first["answer"]
    assert {task["id"] for task in again["tasks"]}.isdisjoint(
        task["id"] for task in first["tasks"]
    ), "another run is not a repetition of the first"
