"""Secrets, programs and counts are left out where a value is shown; unsafe files are refused."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qpu_executor.cli.server_files import check_site_file, placed
from qpu_executor.cli.server_parts import build_parts
from qpu_executor.client.credentials import FILE_VARIABLE, credentials_of
from qpu_executor.errors import ConfigError, OperatorError
from qpu_executor.manager.auth.base import KnownToken, Presented
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.service.settling import Verdict
from qpu_executor.manager.store.records import ChunkRow, ProgramRow, TokenRow
from qpu_executor.model.states import ChunkState
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.pasqal_controller.connection import Connection
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings
from qpu_executor.qpus.qrmi_settings import QrmiSettings
from qpu_executor.qpus.secret_files import read_secret
from qpu_executor.settings import parse_site, read_site
from qpu_executor.wire.tokens import NewTokenOut, TokenOut

SECRET = "5entinel"
COUNTS = {SECRET: 3}

SITE = f"""
manager: {{store: store.sqlite, authentication: [{{kind: portal, password: {SECRET}}}]}}
default_class: d
job_classes: {{d: {{priority: 1}}}}
qpus: {{q: {{kind: qrmi, environment: {{KEY: {SECRET}}}}}}}
"""


def a_token() -> TokenOut:
    now = datetime.now(UTC)
    fields = {"id": "i", "user": "u", "roles": [], "note": "", "issued_by": "u"}
    return TokenOut(**fields, issued_at=now, expires_at=now, revoked_at=None)


@pytest.mark.parametrize(
    "value",
    [
        Program("k", SECRET),
        NewTask(Program("k", SECRET), "h", 1),
        ProgramRow("h", "k", SECRET),
        ChunkRow(1, 0, ChunkState.FINISHED, "q", "d", False, 0, 3, 0, 1, counts=COUNTS),
        ChunkOutcome(OutcomeKind.FINISHED, counts=COUNTS),
        Verdict(COUNTS),
        TokenRow("i", SECRET, "u", None, (), "", "u", 0, None),
        KnownToken("i", SECRET, "u", None, frozenset(), None, False),
        Presented({"authorization": SECRET}),
        NewTokenOut(token=SECRET, about=a_token()),
        parse_site(SITE, "site.yaml"),
        QrmiSettings(type="iqm-server", environment={"KEY": SECRET}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_shown_of_a_value_has_no_secret(value: object) -> None:
    assert SECRET not in f"{value!r} {value}"


def a_file(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


CONTROLLED = """
manager: {{store: store.sqlite}}
default_class: d
job_classes: {{d: {{priority: 1}}}}
qpus: {{q: {{kind: pasqal-controller, url: "http://127.0.0.1:1", ca_file: {ca}}}}}
"""


def test_a_site_file_or_a_file_of_its_qpus_that_others_can_write_is_refused(
    tmp_path: Path,
) -> None:
    ca = a_file(tmp_path / "ca.pem", "", 0o644)
    site = a_file(tmp_path / "site.yaml", CONTROLLED.format(ca=ca), 0o644)
    check_site_file(site, read_site(site))
    ca.chmod(0o646)
    with pytest.raises(ConfigError, match="others can write the file of QPU q"):
        check_site_file(site, read_site(site))
    ca.chmod(0o644)
    site.chmod(0o666)
    with pytest.raises(ConfigError, match="others can write the site file"):
        check_site_file(site, read_site(site))


def test_a_site_file_is_looked_at_again_when_it_is_read_again(tmp_path: Path) -> None:
    ca = a_file(tmp_path / "ca.pem", "", 0o644)
    site = a_file(tmp_path / "site.yaml", CONTROLLED.format(ca=ca), 0o644)
    settings = read_site(site)
    settings = settings.model_copy(
        update={
            "manager": settings.manager.model_copy(update={"store": placed(settings.manager.store)})
        }
    )
    parts = build_parts(settings, embedded=False, site_file=site)
    read_again = parts.manager.read_policy
    assert read_again is not None
    assert read_again().default_class == "d"
    site.chmod(0o666)
    with pytest.raises(ConfigError, match="others can write the site file"):
        read_again()


async def test_a_controllers_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = a_file(tmp_path / "token", "abc", 0o644)
    settings = ControllerSettings.read("q", {"url": "http://c:1", "token_file": str(token)})
    with pytest.raises(OperatorError, match="may be read by others") as refused:
        await Connection(settings).open()
    assert "chmod 600" in str(refused.value)


@pytest.mark.root
def test_a_secret_of_somebody_else_is_refused(tmp_path: Path) -> None:
    secret = a_file(tmp_path / "secret", SECRET, 0o600)
    os.chown(secret, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to uid 65534"):
        read_secret(str(secret), "password_file")
    with pytest.raises(ConfigError, match="belongs to uid 65534"):
        credentials_of({FILE_VARIABLE: str(secret)})
