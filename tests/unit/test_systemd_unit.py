"""The unit file: systemd takes it, and it names what the documentation names."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from qpu_executor.manager.api.listening import Exposure, open_sockets
from qpu_executor.settings import parse_site

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "configs" / "systemd" / "qpu-executor.service"
PAGE = ROOT / "docs" / "operations" / "install.md"


def unit() -> ConfigParser:
    found = ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(UNIT.read_text())
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd isn't installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    command = "/opt/qpu-executor/bin/qpu"
    # It checks that the command is there, and it isn't.
    here.write_text(UNIT.read_text().replace(f"={command}", f"={sys.executable}"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True
    )
    about = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, about) == (0, []), done.stderr


def test_it_runs_without_rights_and_sees_who_calls() -> None:
    service = unit()["Service"]
    assert service["User"] not in ("root", "0", "")
    assert service["CapabilityBoundingSet"] == ""
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert "PrivateUsers" not in service, "callers would be nobody"
    assert service["StateDirectoryMode"] == "0700"


def test_the_page_about_installing_names_its_paths() -> None:
    text, service = PAGE.read_text(), unit()["Service"]
    *_, site_file = service["ExecStart"].split()
    for named in (site_file, service["ExecStart"].split()[0], f"{service['User']}\n"):
        assert named in text
    for directory, setting in (("/var/lib", "StateDirectory"), ("/run", "RuntimeDirectory")):
        assert f"{directory}/{service[setting]}/" in text


@pytest.mark.parametrize(("asked", "mode"), [("0666", 0o666), ("0660", 0o660), ("600", 0o600)])
def test_a_sockets_mode_is_the_sites_whatever_the_umask(
    tmp_path: Path, asked: str, mode: int
) -> None:
    text = (ROOT / "configs" / "site.yaml").read_text()
    site = parse_site(text.replace("manager:\n", f'manager:\n  socket_mode: "{asked}"\n'), "s")
    path = tmp_path / "m.sock"
    exposure = Exposure(socket_mode=int(site.manager.socket_mode, 8))
    (found,), _ = open_sockets([f"unix://{path}"], exposure)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert found.family is socket.AF_UNIX
    found.close()
