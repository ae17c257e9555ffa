"""`qpu doctor` against real managers, and against what only looks like one."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.doctor import sight
from qpu_executor.cli.doctor.finding import Level
from qpu_executor.cli.doctor.running import run_checks
from qpu_executor.cli.doctor.user import UserSetup
from qpu_executor.errors import ManagerUnreachable
from qpu_executor.programs.devices import device_json
from qpu_executor.testing.munged import Munged
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
default_class: development
job_classes: {{development: {{priority: 100}}}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QPU_", "SLURM_", "QRMI_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "qpu_executor.cli.main", "doctor", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=kept | environment,
    )


def levels(done: subprocess.CompletedProcess[str]) -> dict[str, set[str]]:
    """Levels by subject, of `--json`."""
    assert "Traceback" not in done.stderr
    found: dict[str, set[str]] = {}
    for one in json.loads(done.stdout)["checks"]:
        found.setdefault(one["check"], set()).add(one["level"])
    return found


def test_a_set_up_that_works_is_exit_0_and_compares_versions_devices_and_clocks(
    shared: Any, tmp_path: Path
) -> None:
    program = tmp_path / "seq.json"
    program.write_text(small_sequence().to_abstract_repr())
    done = doctor("--program", str(program), "--json", QPU_MANAGER=shared.url)
    assert done.returncode == 0, done.stdout + done.stderr
    found = levels(done)
    for about in ("manager", "clock", "versions", "qpu", "device", "program", "address"):
        assert found[about] == {"ok"}, about


def test_what_is_wrong_is_exit_1_with_what_to_type(shared: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("no token")
    token.chmod(0o644)
    moved = json.loads(device_json("AnalogDevice")) | {"max_atom_num": 5}
    file = tmp_path / "device.json"
    file.write_text(json.dumps(moved))
    done = doctor(
        *("--manager", shared.url, "--program", str(file)),
        QPU_TOKEN_FILE=str(token),
        SLURM_JOB_ID="7",
        SLURM_JOB_END_TIME="1",
    )
    assert done.returncode == 1
    assert f"type: chmod 600 {token}" in done.stdout
    assert "type: start in a new allocation, or unset SLURM_JOB_END_TIME" in done.stdout
    drifted = doctor("--manager", shared.url, "--program", str(file))
    assert drifted.returncode == 0
    assert "max_atom_num: 5 here, 80 there" in drifted.stdout
    assert "qpu info emulator --device > device.json" in drifted.stdout


def test_who_proves_nothing_is_told_how_to(make_manager: Any) -> None:
    manager = make_manager(site=SITE.replace("listen:", "authentication: [token]\n  listen:"))
    manager.start()
    done = doctor("--json", QPU_MANAGER=manager.url)
    assert done.returncode == 1
    (wrong,) = [one for one in json.loads(done.stdout)["checks"] if one["level"] == "wrong"]
    assert wrong["check"] == "manager"
    assert "QPU_TOKEN" in wrong["next_step"]


def test_with_a_real_munged_it_is_seen_who_the_manager_takes_the_user_for(
    make_manager: Any, munged_installed: None
) -> None:
    munged = Munged()
    munged.start()
    try:
        proof = f"authentication: [{{{{kind: munge, socket: {munged.socket}}}}}]\n  listen:"
        manager = make_manager(listen="http://127.0.0.1:0", site=SITE.replace("listen:", proof, 1))
        manager.start()
        environment = {"QPU_MANAGER": manager.url, "QPU_MUNGE_SOCKET": munged.socket}
        well = doctor("--json", **environment)
        assert well.returncode == 0, well.stdout + well.stderr
        said = {one["check"]: one["message"] for one in json.loads(well.stdout)["checks"]}
        assert said["munge"] == f"munged answers on {munged.socket}"
        assert said["manager"].endswith(f"you are {pwd.getpwuid(os.getuid()).pw_name}")
    finally:
        munged.close()
    away = doctor("--json", **environment)
    assert away.returncode == 1
    (wrong,) = [one for one in json.loads(away.stdout)["checks"] if one["level"] == "wrong"]
    assert wrong["check"] == "manager"
    assert "munge" in wrong["message"].lower()
    assert wrong["next_step"]


WRONG_CLOCK = """
import datetime


class Behind(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(minutes=10)


datetime.datetime = Behind
"""


def test_a_manager_whose_clock_is_ten_minutes_behind_is_told_of(
    make_manager: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind" / "sitecustomize.py").write_text(WRONG_CLOCK)
    manager = make_manager(site=SITE)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "behind"), prepend=":")
        manager.start()
    done = doctor("--json", QPU_MANAGER=manager.url)
    assert done.returncode == 1
    (clock,) = [one for one in json.loads(done.stdout)["checks"] if one["check"] == "clock"]
    assert clock["level"] == "wrong"
    assert re.search(r"is (9:5\d|10:0\d) ahead of the manager's", clock["message"])
    assert "chronyc" in clock["next_step"]


def test_a_stale_socket_an_unknown_qpu_and_a_wrong_option_are_one_line_each(
    shared: Any, tmp_path: Path
) -> None:
    stale = doctor(QPU_MANAGER=f"unix://{tmp_path}/gone.sock")
    assert stale.returncode == 1
    assert "there is no socket" in stale.stdout
    assert "Traceback" not in stale.stdout + stale.stderr
    unknown = doctor("--manager", shared.url, "--qpu", "nope")
    assert "there is no QPU 'nope'" in unknown.stdout
    both = doctor("--site", "x.yaml", "--qpu", "q")
    assert both.returncode == 2
    assert "qpu doctor --site FILE" in both.stderr


def test_something_that_listens_and_says_nothing_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sight, "LOOK_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ManagerUnreachable, match=r"says nothing for 0\.5 s"):
            sight.look(url)
        found = list(run_checks(UserSetup({"QPU_MANAGER": url}).checks()))
    assert [one.about for one in found if one.level is Level.WRONG] == ["manager"]


def test_a_site_is_examined_beside_its_manager_and_nothing_is_disturbed(shared: Any) -> None:
    site = shared.directory / "site.yaml"
    site.chmod(0o600)
    before = shared.store.stat().st_size
    done = doctor("--site", str(site), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = levels(done)
    for about in ("server", "site", "policy", "store", "listen", "qpu"):
        assert "wrong" not in found[about], about
    assert "is at unix://" in done.stdout, "the socket is the manager's own"
    with shared.connect() as client:
        assert client.submit(small_sequence(), 5).result(timeout=120).shots == 5
    assert shared.store.stat().st_size >= before


def test_a_site_with_mistakes_names_each_of_them(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        """
manager: {listen: ["http://0.0.0.0:0"], store: store.sqlite}
default_class: development
job_classes: {development: {priority: 100}}
qpus:
  fresnel: {kind: pasqal-controller, url: "http://127.0.0.1:9", answer_s: 0.5}
  cloud: {kind: pasqal-clowd}
"""
    )
    done = doctor("--site", str(site))
    assert done.returncode == 1
    wrong = [one.split()[1] for one in done.stdout.splitlines() if one.startswith("wrong")]
    assert wrong == ["listen", "qpu", "qpu"]
    assert "callers on other hosts can't prove who they are" in done.stdout
    assert "qpus.fresnel" in done.stdout
    assert "did you mean 'pasqal-cloud'?" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
