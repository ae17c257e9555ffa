"""`qpu simulate`: from files to figures, and what is said where that can't be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpu_executor.cli.main import main

ROOT = Path(__file__).parents[2]
SITE = str(ROOT / "configs/site.yaml")
WORKLOAD = """\
title: A small batch
batch: {jobs: 3}
job_classes: {production: 0.5, development: 0.5}
jobs:
  short: {think_s: [10, 20], shots: [50, 100], rounds: [2, 4]}
qpu: {max_chunk_shots: 50}
seeds: 2
first_seed: 5
"""


@pytest.fixture
def workload(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(WORKLOAD)
    return str(path)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *words])
    return int(ended.value.code or 0)


def test_every_policy_is_compared_on_the_seeds_of_the_file(
    workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(workload, "--site", SITE, "--processes", "1") == 0

    text = capsys.readouterr().out
    assert text.startswith("# A small batch\n\n2 seeds (5 to 6), pooled.")
    for name in ("exclusive", "fifo-whole", "fifo-polled", "priority-short-first", "banded"):
        assert f"| {name} | production |" in text


def test_two_processes_give_the_document_that_one_gives(
    workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (workload, "--site", SITE, "--json", "--policy", "banded", "--policy", "exclusive")

    assert run(*words, "--processes", "1") == 0
    alone = capsys.readouterr().out
    assert run(*words, "--processes", "2") == 0

    assert capsys.readouterr().out == alone
    document = json.loads(alone)
    assert document["seeds"] == [5, 6]
    assert list(document["policies"]) == ["banded", "exclusive"]


def test_options_say_how_many_seeds_and_which_is_the_first(
    workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--policy", "fifo-whole", "--seeds", "3", "--first-seed", "40", "--json")
    assert run(workload, "--site", SITE, *words) == 0

    assert json.loads(capsys.readouterr().out)["seeds"] == [40, 41, 42]


def test_the_page_is_written_with_the_pictures_of_the_first_seed(
    workload: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"

    assert run(workload, "--site", SITE, "--policy", "banded", "--html", str(page)) == 0

    assert "What the QPU did (seed 5)" in page.read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "a workload file and a site file"),
        (("--reference", "--site", SITE), "--reference has loads and a site of its own"),
        (("{workload}", "--site", SITE, "--policy", "bandid"), "did you mean 'banded'?"),
        (("{workload}", "--site", "no-site.yaml"), "no-site.yaml: there is no such site file"),
        (("no-load.yaml", "--site", SITE), "no-load.yaml: there is no such workload file"),
        (
            ("{workload}", "--site", SITE, "--policy", "banded", "--html", "/no/such/page.html"),
            "/no/such/page.html: can't be written",
        ),
    ],
)
def test_what_cant_be_rehearsed_is_refused_as_a_mistake_in_the_command(
    words: tuple[str, ...], expected: str, workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(word.format(workload=workload) for word in words)) == 2

    assert expected in capsys.readouterr().err
