"""Policies by name: found, configured, or refused with what is wrong."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from qpu_executor import plugins
from qpu_executor.errors import ConfigError, PluginRefused
from qpu_executor.manager.service import policies
from qpu_executor.manager.service.policies import build_policy
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.scheduling.state import Bucket, Key, Task


class NoBucketKey:
    def task_key(self, task: Task, now: Instant) -> Key:
        return ()

    def rerank_at(self, task: Task) -> Instant | None:
        return None


class WithoutNow(Fifo):
    def bucket_key(self, bucket: Bucket) -> Key:  # type: ignore[override]
        return ()


class KeyIsNumber(Fifo):
    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        return 3  # type: ignore[return-value]


class Fickle(Fifo):
    asked = 0

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        Fickle.asked += 1
        return (Fickle.asked,)


class Fails(Fifo):
    def task_key(self, task: Task, now: Instant) -> Key:
        raise LookupError("no such account")


class Seconds(Fifo):
    def next_change(self, now: Instant) -> Instant | None:
        return 1.5  # type: ignore[return-value]


def refuses_to_be_made() -> None:
    raise LookupError("no licence")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policies of this file, and one of a package that is broken."""
    names = ("NoBucketKey", "WithoutNow", "KeyIsNumber", "Fickle", "Fails", "Seconds")
    here = {name: f"policies_of_this_test:{name}" for name in names}
    points = {
        **here,
        "banded": "qpu_executor.scheduling.policies.banded:Banded",
        "unmade": "policies_of_this_test:refuses_to_be_made",
        "broken": "no_such_package:Policy",
        "text": "qpu_executor:__version__",
    }
    found = EntryPoints(EntryPoint(*item, policies.GROUP) for item in points.items())
    monkeypatch.setattr(plugins, "entry_points", lambda group: found.select(group=group))
    monkeypatch.setitem(__import__("sys").modules, "policies_of_this_test", _module())


def _module() -> object:
    from types import ModuleType

    module = ModuleType("policies_of_this_test")
    module.__dict__.update(globals())
    return module


@pytest.mark.usefixtures("installed")
def test_settings_reach_the_policy() -> None:
    assert build_policy("banded", {"age_cap_s": 60}) == Banded(age_cap_s=60)


@pytest.mark.usefixtures("installed")
def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(PluginRefused, match=r"no policy 'bandet' \(did you mean 'banded'\?\)"):
        build_policy("bandet", {})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"age_cap": 60}, r"no setting 'age_cap' \(did you mean 'age_cap_s'\?\)"),
        ({"age_cap_s": "long"}, "age_cap_s must be a number, not 'long'"),
        ({"age_cap_s": True}, "age_cap_s must be a number, not True"),
    ],
)
def test_wrong_setting_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_policy("banded", settings)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoBucketKey", "'bucket_key' is missing"),
        ("WithoutNow", "'bucket_key' must take 2 arguments"),
        ("KeyIsNumber", "'bucket_key' must return a tuple of numbers"),
        ("Fickle", "'bucket_key' must give the same key"),
        ("Fails", "it raised LookupError when it was tried: no such account"),
        ("Seconds", "whole microseconds"),
        ("unmade", "it raised LookupError: no licence"),
        ("broken", "can't be loaded: ModuleNotFoundError"),
        ("text", "'qpu_executor:__version__' is no class or function"),
    ],
)
def test_bad_policy_is_refused_by_name_with_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(PluginRefused, match=message) as caught:
        build_policy(name, {})
    assert repr(name) in str(caught.value)
