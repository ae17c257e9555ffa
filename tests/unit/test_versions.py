"""A client and a manager of different versions: what each side says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from qpu_executor import __version__
from qpu_executor.client import protocol, versions
from qpu_executor.client.problems import Reply
from qpu_executor.errors import CallerError, ManagerBusy, RequestRefused, UnknownTask
from qpu_executor.wire.site import HealthOut
from qpu_executor.wire.versions import NEWEST_API, OLDEST_API, SPOKEN, in_words, newest_common


def hello(*spoken: int, version: str = "9.8.7") -> HealthOut:
    return HealthOut(
        version=version, api_versions=list(spoken), instance="i", embedded=False, host="h",
        caller="me", cursor=0, now=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip


def problem(status: int, code: str, detail: str) -> Reply:
    body = {"title": "t", "status": status, "code": code, "detail": detail}
    return Reply(status, {"content-type": "application/problem+json"}, json.dumps(body).encode())


def test_the_newest_common_version_is_spoken_and_spans_read_well():
    assert (newest_common([1, 2], [2, 3]), newest_common([1], [2, 3])) == (2, None)
    assert [in_words(one) for one in ([], [1], [2, 1], [1, 2, 3], [1, 3, 4])] == [
        "none",
        "1",
        "1, 2",
        "1 to 3",
        "1, 3, 4",
    ]
    assert tuple(range(OLDEST_API, NEWEST_API + 1)) == SPOKEN


@pytest.mark.parametrize("theirs", [SPOKEN, (*SPOKEN, NEWEST_API + 1), (NEWEST_API, 99)])
def test_one_common_version_is_enough(theirs):
    assert versions.misfit(hello(*theirs), "http://head") is None


def test_a_client_that_is_too_old_hears_both_versions_and_what_to_install():
    said = str(versions.misfit(hello(NEWEST_API + 1, NEWEST_API + 2), "http://head"))
    assert said.startswith("http://head: this client is too old for the manager")
    assert f"API version {NEWEST_API + 1}, {NEWEST_API + 2} (qpu-executor 9.8.7)" in said
    assert f"API version {in_words(SPOKEN)}, which this client speaks" in said
    assert f"(qpu-executor {__version__})" in said
    assert said.endswith("pip install 'qpu-executor==9.8.7'")


def test_a_client_that_is_too_new_may_take_the_managers_version_or_ask_for_a_newer_one(
    monkeypatch,
):
    monkeypatch.setattr(versions, "SPOKEN", (2, 3))
    said = str(versions.misfit(hello(1, version="0.1.0"), "http://head"))
    assert "this client is too new for the manager: that speaks API version 1 (" in said
    assert "expected: API version 2, 3" in said
    assert "pip install 'qpu-executor==0.1.0'), or ask the site's operators" in said


def test_a_route_that_an_older_manager_lacks_is_named_with_its_version():
    missing = problem(404, "caller-error", "Not Found")
    request = protocol.task_page(ids=[1])
    error = versions.refusal(missing, request, "http://head", "0.0.9")
    assert type(error) is CallerError
    assert "the manager (qpu-executor 0.0.9) is older than this client" in str(error)
    assert "it has no GET /v1/tasks;" in str(error)
    assert "ask the site's operators for a newer manager" in str(error)


def test_an_option_that_an_older_manager_lacks_is_refused_and_not_dropped():
    unknown = problem(422, "request-refused", "tasks.0.path_s: unknown field")
    error = versions.refusal(unknown, protocol.health(), "http://head", "0.0.9")
    assert isinstance(error, RequestRefused)
    assert "(qpu-executor 0.0.9) is older than this client" in str(error)
    assert "tasks.0.path_s: unknown field; next: do without it" in str(error)


def test_other_answers_are_what_they_are():
    def of(reply: Reply) -> object:
        return versions.refusal(reply, protocol.health(), "http://head", "0.0.9")

    assert of(Reply(200, {}, b"{}")) is None
    assert isinstance(of(problem(404, "unknown-task", "no task 7")), UnknownTask)
    assert isinstance(of(problem(503, "manager-busy", "later")), ManagerBusy)
    assert "older" not in str(of(problem(422, "request-refused", "no QPU 'x'")))
