"""What `qpu doctor` finds, one check at a time, and that no check ends or holds up the others."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.doctor import (
    credentials,
    devices,
    environment,
    host,
    manager,
    packages,
    site_qpus,
    site_store,
)
from qpu_executor.cli.doctor.finding import Check, Finding, Level, of_error, ok, warning, wrong
from qpu_executor.cli.doctor.report import document, line, summary
from qpu_executor.cli.doctor.running import run_checks
from qpu_executor.cli.doctor.sight import Program, Sight
from qpu_executor.cli.doctor.site import SiteSetup
from qpu_executor.cli.doctor.user import UserSetup
from qpu_executor.errors import ConfigError, NotAuthenticated, OperatorError
from qpu_executor.installed import versions
from qpu_executor.manager.store.lock import FileLock
from qpu_executor.programs.devices import device_json
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.site import CalibrationOut, HealthOut, QpuDetail
from qpu_executor.wire.tasks import Problem

OK, WARNING, WRONG = Level.OK, Level.WARNING, Level.WRONG
ANALOG = device_json("AnalogDevice")
NOW_S = 1_800_000_000.0


def of(found: Finding | Iterable[Finding]) -> Finding:
    """The one finding."""
    (one,) = [found] if isinstance(found, Finding) else list(found)
    return one


def a_qpu(**changes: Any) -> QpuDetail:
    fields: dict[str, Any] = {
        "name": "fresnel",
        "kind": "pasqal-controller",
        "status": "online",
        "status_reason": None,
        "healthy": True,
        "busy": False,
        "capacity": {"available_slots": 1, "max_slots": 1},
        "pending_job_count": 2,
        "state": "UP",
        "device": "AnalogDevice",
        "emulated": False,
        "max_chunk_shots": 2000,
        "shot_rate_hz": 4.5,
        "running": [],
        "pulser_device": ANALOG,
    }
    return QpuDetail(**fields | changes)


def a_sight(*qpus: QpuDetail, **changes: Any) -> Sight:
    hello = HealthOut(
        version="0.1.0",
        api_versions=[1],
        instance="i",
        embedded=False,
        host="head",
        caller="ada",
        cursor=0,
        now=datetime.now(UTC),
    )
    return Sight("http://head:8080", hello, qpus or (a_qpu(),), **changes)


# Packages


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.10.4", WRONG), ("3.11.0", OK), ("3.13.9", OK), ("3.14.0rc1", WARNING)],
)
def test_a_python_that_isn_t_supported_is_named(version: str, level: Level) -> None:
    assert packages.python_here(version).level is level


def test_without_pulser_or_an_emulator_the_extra_is_what_to_type() -> None:
    assert "qpu-executor[pulser]" in packages.pulser_here({}).next_step
    missing = packages.emulators_here({}, embedded=True)
    assert (missing.level, "server,emulator" in missing.next_step) == (WRONG, True)
    assert packages.emulators_here({}, embedded=False).level is OK
    assert packages.emulators_here({"emu-sv": "2.10.1"}, embedded=True).level is OK


def test_versions_that_differ_beyond_a_patch_are_a_warning_with_the_manager_s() -> None:
    mine = {"qpu-executor": "0.1.0", "pulser-core": "1.9.1"}
    theirs = {"qpu-executor": "0.1.7", "pulser-core": "1.8.0", "emu-mps": "2.10.1"}
    same, other, emulators = packages.skew(mine, theirs, emulated=True)
    assert same.level is OK
    assert other.level is WARNING
    assert other.next_step == "pip install 'pulser-core==1.8.0'"
    assert "emu-mps 2.10.1" in emulators.message


def test_an_older_manager_or_a_missing_package_is_nothing_to_compare() -> None:
    assert of(packages.skew({}, {}, emulated=True)).level is OK
    found = list(packages.skew({}, {"qpu-executor": "0.1.0"}, emulated=False))
    assert {one.level for one in found} == {OK}


def test_scripts_that_parsl_starts_by_name_have_to_be_on_path() -> None:
    found = packages.scripts_on_path({"parsl": "2026"}, ["interchange.py"], "/venv/bin")
    assert found.next_step == "export PATH=/venv/bin:$PATH"
    assert "process_worker_pool.py not on PATH" in found.message
    assert packages.scripts_on_path({"parsl": "2026"}, packages.HTEX_SCRIPTS, "").level is OK
    assert packages.scripts_on_path({}, [], "").level is OK


# Environment


def test_an_option_that_hides_the_variable_is_a_warning() -> None:
    both = environment.manager_named("http://a:1", {"QPU_MANAGER": "http://b:1"})
    assert (both.level, both.next_step) == (WARNING, "unset QPU_MANAGER")
    assert "embedded" in environment.manager_named(None, {}).message
    assert environment.manager_named(None, {"QPU_MANAGER": "http://b:1"}).level is OK


@pytest.mark.parametrize(
    ("end", "level", "said"),
    [
        (None, WARNING, "squeue"),
        (str(NOW_S + 3600), OK, ""),
        (str(NOW_S + 60), WARNING, "new allocation"),
        (str(NOW_S - 5), WRONG, "unset SLURM_JOB_END_TIME"),
        ("soon", WRONG, "unset SLURM_JOB_END_TIME"),
    ],
)
def test_a_slurm_job_is_told_by_its_end(end: str | None, level: Level, said: str) -> None:
    job = {"SLURM_JOB_ID": "7"} | ({} if end is None else {"SLURM_JOB_END_TIME": end})
    found = of(environment.slurm_job(job, NOW_S))
    assert found.level is level
    assert said in found.next_step


def test_several_nodes_need_a_manager_that_all_of_them_reach() -> None:
    job = {
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "SLURM_JOB_END_TIME": str(NOW_S + 3600),
    }
    assert [one.level for one in environment.slurm_job(job, NOW_S)] == [OK, WARNING]
    there = job | {"QPU_MANAGER": "https://head:8443"}
    assert [one.level for one in environment.slurm_job(there, NOW_S)] == [OK]
    assert of(environment.slurm_job({}, NOW_S)).message == "not in a Slurm job"


def test_qrmi_s_lists_have_to_fit_and_each_resource_needs_its_keys() -> None:
    names = {"QRMI_JOB_QPU_RESOURCES": "A,B", "QRMI_JOB_QPU_TYPES": "pasqal-cloud"}
    assert of(environment.qrmi_job(names)).level is WRONG
    fit = names | {"QRMI_JOB_QPU_TYPES": "pasqal-cloud,pasqal-local", "A_QRMI_X": "1"}
    assert [one.level for one in environment.qrmi_job(fit)] == [OK, WRONG]
    old = {"SLURM_JOB_QPU_RESOURCES": "A", "SLURM_JOB_QPU_TYPES": "pasqal-cloud", "A_QRMI_X": "1"}
    assert of(environment.qrmi_job(old)).message == "A (pasqal-cloud)"
    assert of(environment.qrmi_job({})).level is OK


# Credentials


def test_a_token_file_that_others_can_read_is_wrong_and_says_chmod(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret-of-mine")
    path.chmod(0o644)
    found = credentials.token({"QPU_TOKEN_FILE": str(path)})
    assert (found.level, found.next_step) == (WRONG, f"chmod 600 {path}")
    path.chmod(0o600)
    assert credentials.token({"QPU_TOKEN_FILE": str(path)}).level is OK
    gone = credentials.token({"QPU_TOKEN_FILE": str(tmp_path / "gone")})
    assert (gone.level, gone.next_step) == (WRONG, "unset QPU_TOKEN_FILE")
    both = credentials.token({"QPU_TOKEN_FILE": str(path), "QPU_TOKEN": "secret-of-mine"})
    assert (both.level, both.next_step) == (WARNING, "unset QPU_TOKEN")
    assert credentials.token({}).level is OK
    assert "secret-of-mine" not in both.message


def test_munge_is_missed_only_where_nothing_else_proves_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_munged(*, socket: str | None) -> str:
        raise OperatorError("munged doesn't answer", next_step="start munged")

    monkeypatch.setattr(credentials.munge, "encode", no_munged)
    found = of(credentials.munge_here({}, wanted=True))
    assert (found.level, found.next_step) == (WARNING, "start munged; or use a token")
    assert of(credentials.munge_here({}, wanted=False)).level is OK
    monkeypatch.setattr(credentials.munge, "encode", lambda *, socket: "MUNGE:")
    assert "on /m" in of(credentials.munge_here({"QPU_MUNGE_SOCKET": "/m"}, wanted=True)).message


def test_who_isn_t_known_is_told_how_to_prove_it() -> None:
    found = of_error("manager", NotAuthenticated("nobody knows who is asking"))
    assert "qpu token issue" in found.next_step
    assert "MUNGE" in found.next_step


# Host


def test_a_directory_is_tried_and_one_that_isn_t_there_yet_is_fine(tmp_path: Path) -> None:
    assert of(host.directory("state", tmp_path / "a" / "b")).level is OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("free", [1_000_000, 900_000_000_000])
def test_a_full_disk_is_seen_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert of(host.directory("state", tmp_path)).level is (WARNING if free < 1e9 else OK)


def test_a_directory_that_can_t_be_written_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.os, "access", lambda *_: False)  # root may write everywhere
    assert "chmod" in of(host.directory("state", tmp_path)).next_step
    monkeypatch.undo()

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host.tempfile, "TemporaryFile", full)
    assert "No space left" in of(host.directory("state", tmp_path)).message


# Manager


@pytest.mark.parametrize(
    ("ahead_s", "level", "said"),
    [
        (None, OK, "older"),
        (0.5, OK, "agree"),
        (-30.0, WARNING, "behind"),
        (400.0, WRONG, "6:40 ahead of"),
    ],
)
def test_clocks_that_differ_are_told(ahead_s: float | None, level: Level, said: str) -> None:
    found = manager.clocks(a_sight(ahead_s=ahead_s))
    assert found.level is level
    assert said in found.message


def test_a_slow_answer_isn_t_taken_for_a_wrong_clock() -> None:
    assert manager.clocks(a_sight(ahead_s=4.0, ahead_within_s=4.0)).level is OK


@pytest.mark.parametrize(
    ("clock_ahead_s", "said"),
    [(0.3, []), (34560000.0, ["400-00:00:00 ahead of"]), (-7200.0, ["2:00:00 behind"])],
)
def test_a_manager_whose_own_clock_is_off_is_told(clock_ahead_s: float, said: list[str]) -> None:
    seen = a_sight()
    seen = replace(seen, hello=seen.hello.model_copy(update={"clock_ahead_s": clock_ahead_s}))
    found = list(manager.own_clock(seen))
    assert [one.level for one in found] == [WRONG] * len(said)
    assert all(text in one.message for one, text in zip(found, said, strict=True))


def test_each_qpu_says_how_it_is() -> None:
    late = CalibrationOut(
        epoch=None, since=None, age_s=None, due_at=None, running=False, overdue=True, quality=None
    )
    found = manager.qpus(
        a_sight(
            a_qpu(),
            a_qpu(state="DRAINING", status_reason="laser\nservice"),
            a_qpu(state="DOWN", status_reason="no answer"),
            a_qpu(calibration=late),
            a_qpu(status_reason="its specification can't be read"),
        )
    )
    levels, messages = zip(*((one.level, one.message) for one in found), strict=True)
    assert levels == (OK, WARNING, WRONG, WARNING, WARNING)
    assert "is up: its specification can't be read" in messages[-1]
    assert of(manager.qpus(Sight("u", a_sight().hello, ()))).level is WRONG


# Devices


def write(tmp_path: Path, text: str) -> Program:
    path = tmp_path / "file.json"
    path.write_text(text)
    return devices.read_file(path)


def test_a_device_that_moved_is_a_warning_with_what_moved(tmp_path: Path) -> None:
    same = write(tmp_path, ANALOG)
    assert same.sequence is None
    assert of(devices.drift(same, a_sight(), None)).level is OK
    moved = json.dumps(json.loads(ANALOG) | {"min_atom_distance": 6.5, "max_atom_num": 10})
    found = of(devices.drift(same, a_sight(a_qpu(pulser_device=moved)), None))
    assert found.level is WARNING
    assert "min_atom_distance: 5 here, 6.5 there; max_atom_num: 80 here, 10 th" in found.message
    assert "qpu info fresnel --device > device.json" in found.next_step


def test_a_program_for_a_device_that_nobody_has_is_wrong_and_names_the_nearest(
    tmp_path: Path,
) -> None:
    other = json.dumps(json.loads(ANALOG) | {"name": "AnalogDevise"})
    found = of(devices.drift(write(tmp_path, other), a_sight(), None))
    assert found.level is WRONG
    assert "did you mean 'AnalogDevice'?" in found.message
    named = of(devices.drift(write(tmp_path, other), a_sight(), "fresnel"))
    assert named.level is WARNING, "compared all the same, as it was asked for"


def test_a_sequence_that_the_manager_would_refuse_says_why(tmp_path: Path) -> None:
    program = write(tmp_path, small_sequence().to_abstract_repr())
    taken = list(devices.drift(program, a_sight(), None))
    assert [one.level for one in taken] == [OK, OK]
    problem = Problem(title="no", status=400, detail="too close", code="program-refused")
    sight = a_sight(refusals={program.file: problem})
    assert [one.level for one in devices.drift(program, sight, None)] == [OK, WRONG]


def test_a_device_that_pulser_here_can_t_read_is_wrong() -> None:
    sight = a_sight(a_qpu(), a_qpu(name="b", pulser_device="{}"), a_qpu(pulser_device=None))
    assert [one.level for one in devices.readable(sight)] == [OK, WRONG]


# The site


def test_a_store_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    assert "will be made" in of(site_store.store_file(path)).message
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE one (n)")
    path.chmod(0o644)
    before = path.read_bytes()
    assert [one.level for one in site_store.store_file(path)] == [WARNING, OK]
    path.chmod(0o600)
    lock = FileLock(Path(f"{path}.lock"))
    assert "in use" not in of(site_store.store_file(path)).message
    lock.acquire()
    assert "in use" in of(site_store.store_file(path)).message
    lock.release()
    assert path.read_bytes() == before
    path.write_bytes(b"no database at all" * 100)
    damaged = of(site_store.store_file(path))
    assert (damaged.level, "mv " in damaged.next_step) == (WRONG, True)


def test_an_adapter_that_isn_t_there_or_whose_qpu_isn_t_says_what_to_do() -> None:
    unknown = of(site_qpus.open_and_ask("q", "pulser-emulater", {}))
    assert (unknown.level, "pulser-emulator" in unknown.message) == (WRONG, True)
    settings = {"url": "http://127.0.0.1:9", "answer_s": 0.5}
    away = of(site_qpus.open_and_ask("q", "pasqal-controller", settings))
    assert (away.level, "qpus.q" in away.next_step) == (WRONG, True)


def test_a_site_file_that_can_t_be_read_is_one_finding_and_the_host_is_checked_all_the_same(
    tmp_path: Path,
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("qpus: {e: {kind: pulser-emulator}}\n")
    found = list(run_checks(SiteSetup(path).checks()))
    assert [one.about for one in found] == ["python", "server", "site"]
    assert "job_classes" in found[-1].message
    assert found[-1].level is WRONG


# Running, and what is printed


def test_a_check_that_hangs_or_breaks_holds_up_none_of_the_others() -> None:
    gate = threading.Event()

    def hangs() -> list[Finding]:
        gate.wait()
        return []

    def breaks() -> list[Finding]:
        raise ZeroDivisionError("on\npurpose")

    def refuses() -> list[Finding]:
        raise ConfigError("bad", where="here", expected="good")

    checks: list[Callable[[], list[Finding]]] = [hangs, breaks, refuses, lambda: [ok("d", "fine")]]
    try:
        found = list(run_checks([Check("x", run, deadline_s=0.3) for run in checks]))
    finally:
        gate.set()
    assert [one.level for one in found] == [WRONG, WRONG, WRONG, OK]
    assert "no answer within 0.3 s" in found[0].message
    assert found[1].message == "the check itself failed: ZeroDivisionError: on purpose"
    assert found[2] == wrong("x", "here: bad", "give good")


def test_a_finding_is_one_line_and_below_it_what_to_type() -> None:
    bad, iffy, fine = wrong("a", "m", "do x"), warning("b", "n", "do y"), ok("c", "o")
    assert line(bad).splitlines() == ["wrong    a          m", f"{'':19} type: do x"]
    assert line(fine) == "ok       c          o"
    assert summary([bad, iffy, fine]) == "1 wrong, 1 to look at"
    assert summary([iffy]) == "nothing is wrong, 1 to look at"
    assert summary([fine]) == "all is well"
    read = json.loads(document([bad, fine]))
    assert read["wrong"] is True
    assert read["checks"][0] == {
        "check": "a",
        "level": "wrong",
        "message": "m",
        "next_step": "do x",
    }


def test_a_user_s_checks_go_on_where_no_manager_answers() -> None:
    setup = UserSetup({"QPU_MANAGER": "http://127.0.0.1:9"})
    found = list(run_checks(setup.checks()))
    (about,) = [one for one in found if one.level is WRONG]
    assert (about.about, "qpu serve" in about.next_step) == ("manager", True)
    assert [one.about for one in found if one.about == "address"] == ["address"]
    assert versions()["python"] in found[0].message
