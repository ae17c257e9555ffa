"""A real Slurm: Prolog opens a job's session for its user, the job drives tasks, Epilog closes."""

from __future__ import annotations

import json
import os
import shutil
import site
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.testing.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
USER = "daemon"
"""A user that every system has, and that may log in nowhere."""

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  services: {{users: [root]}}
policy: fifo
default_class: production
job_classes:
  production: {{priority: 300, chunk_s: 1}}
qpus:
  rehearsal:
    kind: simulated-qpu
    shot_rate_hz: 5
"""


def python_for_everybody() -> str:
    """An interpreter of our version that the job's user can run."""
    for path in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}", "/usr/bin/python3"):
        version = "import sys; print(sys.version_info[1])"
        try:
            said = subprocess.run(
                [path, "-c", version], user=USER, capture_output=True, text=True, check=False
            ).stdout
        except OSError:
            continue
        if said.strip() == str(sys.version_info[1]):
            return path
    return ""


def give_up(reason: str) -> None:
    """Skip; with QPU_EXECUTOR_ALL_TESTS set, that is a failure."""
    if os.environ.get("QPU_EXECUTOR_ALL_TESTS"):
        pytest.fail(reason)
    pytest.skip(reason)


class Site:
    """A cluster, a manager, and the example scripts between them."""

    def __init__(self, cluster: SlurmCluster, manager: Any) -> None:
        self.cluster = cluster
        self.jobs = cluster.directory / "jobs"
        self.manager = manager

    def submit(self, script: str, *options: str) -> int:
        """A job of the user that may use the QPU; `$QPU` is the command."""
        text = f"#!/bin/bash\nexec 2>&1\ncd {self.jobs}\nQPU={self.cluster.directory}/hooks/qpu\n"
        return self.cluster.submit(text + script, USER, "--licenses=qpu:1", *options)

    def until(self, what: Callable[[], Any]) -> Any:
        """What it answers, once that is something."""
        deadline = time.monotonic() + 150
        while not (found := what()):
            if time.monotonic() > deadline:
                outputs = "\n".join(one.read_text() for one in self.jobs.glob("slurm-*.out"))
                raise AssertionError(f"{outputs}\n{self.cluster.log()}\n{self.manager.log}")
            time.sleep(0.05)  # who asks without a pause keeps Slurm from its work
        return found

    def file(self, name: str) -> str:
        """What a job wrote, once it has."""

        def read() -> str:
            path = self.jobs / name
            text = path.read_text() if path.exists() else ""
            return text if text.endswith("\n") else ""

        return str(self.until(read)).strip()

    def sessions(self, job_id: int) -> list[dict[str, Any]]:
        """The rows of a job's sessions, the oldest first."""
        return [
            one
            for one in self._rows("SELECT * FROM sessions ORDER BY opened_at")
            if json.loads(one["slurm"]).get("job_id") == job_id
        ]

    def task(self, task_id: str) -> dict[str, Any]:
        """A task's row."""
        (row,) = self._rows("SELECT * FROM tasks WHERE id = ?", int(task_id))
        return row

    def closed(self, job_id: int, count: int = 1) -> list[dict[str, Any]]:
        """A job's sessions, once so many of them are closed."""

        def look() -> list[dict[str, Any]]:
            return [one for one in self.sessions(job_id) if one["closed_at"]]

        return list(self.until(lambda: found if len(found := look()) >= count else []))

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with sqlite3.connect(f"file:{self.manager.store}?mode=ro", uri=True) as store:
            store.row_factory = sqlite3.Row
            found = [dict(row) for row in store.execute(query, values)]
        store.close()
        return found


@pytest.fixture(scope="module")
def slurm(make_shared: Callable[..., Any]) -> Iterator[Site]:
    if missing := SlurmCluster.missing():
        give_up(
            f"{', '.join(missing)} missing: apt-get install slurmctld slurmd slurm-client munge"
        )
    python = python_for_everybody()
    if not python:
        give_up(f"no Python of this version that {USER} can run")
    cluster = SlurmCluster()
    try:
        manager = make_shared("http://127.0.0.1:0", SITE)
        where = cluster.directory
        # The user may not see where we are: a copy, and what is installed beside us.
        shutil.copytree(ROOT / "qpu_executor", where / "lib" / "qpu_executor")
        paths = ":".join([f"{where}/lib", *site.getsitepackages()])
        cluster.hook(
            "qpu",
            f'#!/bin/sh\nPYTHONPATH={paths} exec {python} -m qpu_executor.cli.main "$@"\n',
        )
        cluster.hook(
            "qpu.env",
            f"QPU={where}/hooks/qpu\nQPU_MANAGER={manager.url}\nQPU_SESSIONS={where}/sessions\n"
            "QPU_JOBS='Licenses=[^ ]*qpu'\n",
        )
        for name in ("prolog", "epilog", "task_prolog", "ends"):
            script = where / "hooks" / f"{name}.sh"
            shutil.copy(ROOT / "configs" / "slurm" / f"{name}.sh", script)
            cluster.hook(name, f"#!/bin/sh\nQPU_SLURM_ENV={where}/hooks/qpu.env exec {script}\n")
        cluster.start()
        program = to_program(small_sequence())
        (where / "jobs" / "program.json").write_text(program.content)
        yield Site(cluster, manager)
    finally:
        cluster.close()


def test_job_has_a_session_from_its_prolog_to_its_epilog(slurm: Site) -> None:
    job_id = slurm.submit(
        """
        $QPU submit program.json -n 5 --wait --json > result.json
        $QPU session open --slurm > again
        $QPU session show $QPU_SESSION --json > shown.json
        """,
        "--account=physics",
        "--time=10",
    )
    (session,) = slurm.closed(job_id)
    assert session["kind"] == "slurm"
    assert (session["owner"], session["uid"], session["account"]) == (USER, 1, "physics")
    assert json.loads(session["slurm"])["cluster"] == "qtest"
    shown = json.loads(slurm.file("shown.json"))
    assert slurm.file("again") == shown["id"] == session["id"]
    assert (shown["state"], shown["tasks"], shown["shots"]) == ("open", 1, 5)
    assert shown["slurm"]["job_id"] == job_id
    assert session["ends_at"] is not None
    assert 0 < session["ends_at"] - session["opened_at"] <= 600 * 1_000_000
    kept = slurm.cluster.directory / "sessions"
    slurm.until(lambda: not list(kept.glob(f"{job_id}.*")))


def test_job_that_asks_for_no_qpu_has_no_session(slurm: Site) -> None:
    script = f'#!/bin/bash\necho "none:$QPU_SESSION" > {slurm.jobs}/plain\n'
    job_id = slurm.cluster.submit(script, USER)
    assert slurm.file("plain") == "none:"
    assert slurm.sessions(job_id) == []


def test_requeued_job_is_a_new_incarnation_that_adopts_its_tasks(slurm: Site) -> None:
    job_id = slurm.submit(
        """
        n=${SLURM_RESTART_COUNT:-0}
        $QPU submit program.json -n 400 --key $SLURM_JOB_ID/1 > task.$n.part
        mv task.$n.part task.$n
        [ $n = 1 ] || exec sleep 600
        """,
        "--requeue",
    )
    task = slurm.file("task.0")
    slurm.cluster.run("scontrol", "requeue", str(job_id))
    assert slurm.file("task.1") == task
    first, second = slurm.closed(job_id, 2)
    assert [json.loads(one["slurm"])["restart_count"] for one in (first, second)] == [0, 1]
    assert slurm.task(task)["session_id"] == second["id"]
    assert slurm.task(task)["generation"] == 1


def test_what_a_user_writes_into_a_job_is_not_what_slurm_says_of_it(slurm: Site) -> None:
    victim = slurm.submit("echo up > victim\nexec sleep 600\n")
    assert slurm.file("victim") == "up"
    told = f" HetJobId={victim} Restarts=7 EndTime=2099-01-01T00:00:00"
    file = slurm.cluster.directory / "sessions" / "$SLURM_JOB_ID.$SLURMD_NODENAME"
    script = f"echo {slurm.sessions(victim)[0]['id']} > {file}\n"
    job_id = slurm.submit(script, "--time=10", f"--comment={told}", f"--job-name=x{told}")
    (session,) = slurm.closed(job_id)
    assert json.loads(session["slurm"])["restart_count"] == 0
    assert session["ends_at"] - session["opened_at"] <= 600 * 1_000_000
    (unharmed,) = slurm.sessions(victim)
    assert unharmed["closed_at"] is None
    slurm.cluster.run("scancel", str(victim))
    slurm.closed(victim)


def test_end_of_an_allocation_that_was_moved_reaches_the_manager(slurm: Site) -> None:
    job_id = slurm.submit(
        """
        $QPU submit program.json -n 4000 > moved.part && mv moved.part moved
        exec sleep 600
        """,
        "--time=30",
    )
    task = slurm.file("moved")
    (before,) = slurm.sessions(job_id)
    slurm.cluster.run("scontrol", "update", f"JobId={job_id}", "TimeLimit=20")
    slurm.cluster.run(str(slurm.cluster.directory / "hooks" / "ends"))
    (after,) = slurm.sessions(job_id)
    assert after["id"] == before["id"]
    assert before["ends_at"] - after["ends_at"] == 600 * 1_000_000
    assert json.loads(slurm.task(task)["wishes"])["session_ends_at"] == after["ends_at"]
    slurm.cluster.run("scancel", str(job_id))
    slurm.closed(job_id)
    slurm.cluster.run(str(slurm.cluster.directory / "hooks" / "ends"))
    assert len(slurm.sessions(job_id)) == 1, "what is closed stays closed"


def test_every_task_of_an_array_has_a_session_of_its_own(slurm: Site) -> None:
    script = """
        $QPU session show $QPU_SESSION --json > array.$SLURM_ARRAY_TASK_ID.part
        mv array.$SLURM_ARRAY_TASK_ID.part array.$SLURM_ARRAY_TASK_ID
        """
    array_id = slurm.submit(script, "--array=0-1")
    found = [json.loads(slurm.file(f"array.{n}")) for n in (0, 1)]
    assert found[0]["id"] != found[1]["id"]
    assert found[0]["slurm"]["job_id"] != found[1]["slurm"]["job_id"]
    for one in found:
        slurm.closed(one["slurm"]["job_id"])
        assert one["slurm"]["array_job_id"] == array_id
    assert [one["slurm"]["array_task_id"] for one in found] == [0, 1]


def test_heterogeneous_job_is_one_job(slurm: Site) -> None:
    script = """
        $QPU session open --slurm > het.open
        $QPU session show $(cat het.open) --json > het.json
        """
    job_id = slurm.submit(script, "-n1", ":", "-n1", "--licenses=qpu:1")
    shown = json.loads(slurm.file("het.json"))
    assert shown["slurm"]["job_id"] == job_id
    (session,) = slurm.closed(job_id)
    assert session["id"] == shown["id"]


def test_cancelled_job_closes_its_session_and_its_tasks_do_what_the_site_says(
    slurm: Site,
) -> None:
    env = slurm.cluster.directory / "hooks" / "qpu.env"
    before = env.read_text()
    env.write_text(before + "QPU_AT_THE_END=cancel\n")
    try:
        job_id = slurm.submit("$QPU submit program.json -n 4000 > long\nexec sleep 600\n")
        task = slurm.file("long")
        slurm.cluster.run("scancel", str(job_id))
        slurm.closed(job_id)
        slurm.until(lambda: slurm.task(task)["state"] == "CANCELLED")
    finally:
        env.write_text(before)
