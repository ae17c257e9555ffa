"""Every policy that is installed against the suite that third parties run, ours first."""

from qpu_executor.manager.service.policies import known_policies
from qpu_executor.testing.contracts.policy import *  # noqa: F403

OURS = {"banded", "critical-path", "fairshare", "fifo", "priority", "weighted"}


def test_ours_are_installed_by_the_same_door() -> None:
    assert set(known_policies()) >= OURS
