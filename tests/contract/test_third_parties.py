"""The suites as somebody else runs them, without a checkout, on a package of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = '''
from qpu_executor.errors import ConfigError, NotAuthenticated
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, DeviceDescription
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu, seeded_counts


class QuickFirst:
    def __init__(self, quick_s=30.0):
        self.quick_s = quick_s

    def bucket_key(self, bucket, now):
        return (-bucket.job_class.priority,)

    def task_key(self, task, now):
        return (task.work_s > self.quick_s, task.ready_at)

    def rerank_at(self, task):
        return None

    def next_change(self, now):
        return None


ASKED = []


class Forgetful(QuickFirst):
    """Its keys depend on what was asked before."""

    def task_key(self, task, now):
        ASKED.append(task.task_id)
        return (len(ASKED), task.ready_at)


class Portal:
    scheme, expects, across_hosts = "Portal", "a secret of the portal", True

    def __init__(self, settings, place):
        for name in settings:
            raise ConfigError(f"there is no setting {name!r}")

    async def open(self): ...

    async def close(self): ...

    async def caller_of(self, presented):
        scheme, _, secret = presented.headers.get("authorization", "").partition(" ")
        if scheme != "Portal":
            return None
        if secret != "open sesame":
            raise NotAuthenticated("the portal doesn't know this secret")
        return Caller("ada", None, "portal")


ENDLESS = Program("fake", "endless")


def build_qpu(name, settings):
    """A QPU that is slow where it is asked to be."""
    return FakeQpu(
        capabilities=Capabilities(
            kinds=DEFAULT_CAPABILITIES.kinds, slots=2, can_ask=True, emulated=True, seeded=True
        ),
        device=DeviceDescription("TheirDevice"),
        answer=lambda order: None if order.program == ENDLESS else seeded_counts(order),
    )
'''

ENTRY_POINTS = """
[qpu_executor.policies]
quick-first = their_site:QuickFirst
forgetful = their_site:Forgetful

[qpu_executor.authenticators]
portal = their_site:Portal

[qpu_executor.qpus]
their-qpu = their_site:build_qpu
"""

TEST_PORTAL = """
import pytest

from qpu_executor.testing.contracts.authenticator import *


@pytest.fixture
def case():
    good = Presented({"authorization": "Portal open sesame"})
    return Case("portal", {}, lambda: good, [Presented({"authorization": "Portal x"})], NAME)
"""

TEST_QPU = """
import pytest
from their_site import ENDLESS

from qpu_executor.programs.program import Program
from qpu_executor.qpus.registry import build_adapter
from qpu_executor.testing.contracts.qpu import *


@pytest.fixture(scope="module")
def make():
    def subject():
        qpu = build_adapter("their-qpu", "theirs", {})
        one, two, wrong = Program("fake", "1"), Program("fake", "2"), Program("unheard-of", "x")
        return Subject(qpu, (one, two), ENDLESS, wrong, too_many=None)

    return subject
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package and its tests."""
    folder = tmp_path_factory.mktemp("theirs")
    installed = folder / "their_site-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: their-site\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "their_site.py").write_text(PACKAGE)
    (folder / "test_portal.py").write_text(f'NAME = "ada"\n{TEST_PORTAL}')
    (folder / "test_other_portal.py").write_text(f'NAME = "bob"\n{TEST_PORTAL}')
    (folder / "test_their_qpu.py").write_text(TEST_QPU)
    return folder


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest as they start it; none of our settings reach it."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_policy_by_name_with_the_command_of_the_page(theirs: Path) -> None:
    suite = ("--pyargs", "qpu_executor.testing.contracts.policy")
    good = pytest_in(theirs, *suite, "-k", "quick-first")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "5 passed" in good.stdout
    bad = pytest_in(theirs, *suite, "-k", "forgetful")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    assert "4 failed" in bad.stdout
    assert "must give the same key for the same task" in bad.stdout


def test_authenticator_by_a_test_file_of_theirs(theirs: Path) -> None:
    good = pytest_in(theirs, "test_portal.py")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "8 passed" in good.stdout
    bad = pytest_in(theirs, "test_other_portal.py")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    # Asserts of the suite are rewritten in their run too: it says what was compared.
    assert "('ada', True) == ('bob', True)" in bad.stdout


def test_adapter_by_a_test_file_of_theirs(theirs: Path) -> None:
    found = pytest_in(theirs, "test_their_qpu.py", "-rs")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "19 passed, 3 skipped" in found.stdout
