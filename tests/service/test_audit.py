"""The audit log: who did what, what was refused, and who was turned away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.manager.service.denials import MOST_A_MINUTE
from qpu_executor.settings import parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.local_api import HOST, LocalApi
from qpu_executor.testing.virtual_manager import VirtualManager

SITE = """
default_class: development
job_classes: {development: {priority: 100, chunk_s: 30}}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 10}}
"""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[VirtualManager]:
    settings = parse_site(SITE, "site.yaml")
    async with VirtualManager(settings, build_site_policy(settings), tmp_path) as served:
        yield served


@pytest.fixture
def api(served: VirtualManager) -> LocalApi:
    return LocalApi(served.manager, operators=["boss", "chief"], services=["slurm"])


async def log_of(api: LocalApi, query: str = "") -> list[dict[str, Any]]:
    """The entries, the oldest first."""
    found = await api.asked("boss", "GET", f"/v1/audit{query}")
    return list(reversed(found["entries"]))


async def submit(served: VirtualManager, **options: Any) -> int:
    return await served.submit(coin_program("a"), 5000, **options)


async def test_every_act_of_an_operator_is_told_with_who_what_whom_and_from_where(
    served: VirtualManager, api: LocalApi
) -> None:
    window = {"name": "helium", "at": "03:00", "length_s": 60}
    task = await submit(served)
    acts: list[tuple[str, str, Any, str, dict[str, Any]]] = [
        ("POST", "/v1/qpus/q/drain", {"reason": "dust"}, "drain", {"qpu": "q", "reason": "dust"}),
        ("POST", "/v1/qpus/q/resume", None, "resume", {"qpu": "q"}),
        ("POST", "/v1/qpus/q/windows", window, "announce window", {"qpu": "q"}),
        ("DELETE", "/v1/qpus/q/windows/helium", None, "withdraw window", {"window": "helium"}),
        ("POST", "/v1/tasks/requeue", {"ids": [task]}, "requeue", {"ids": [task]}),
        ("POST", "/v1/tasks/hold", {"ids": [task]}, "hold", {"ids": [task]}),
        ("POST", "/v1/tasks/release", {"ids": [task]}, "release", {"ids": [task]}),
        ("POST", "/v1/tasks/cancel", {"ids": [task]}, "cancel", {"ids": [task]}),
        ("POST", "/v1/tokens", {"user": "ada"}, "issue token", {"user": "ada"}),
    ]
    for method, path, body, _, _ in acts:
        await api.asked("boss", method, path, body)
        await served.settle()
    entries = await log_of(api)
    assert [one["what"] for one in entries] == [what for *_, what, _ in acts]
    for entry, (*_, about) in zip(entries, acts, strict=True):
        who = (entry["who"], entry["how"], entry["origin"], entry["role"], entry["outcome"])
        assert who == ("boss", "test", HOST, "operator", "done")
        assert about.items() <= entry["about"].items()


async def test_a_services_session_is_told_and_a_users_own_acts_are_not(
    served: VirtualManager, api: LocalApi
) -> None:
    task = await submit(served)
    session = await api.asked("slurm", "POST", "/v1/sessions", {"name": "job", "user": "ada"})
    await api.asked("slurm", "POST", f"/v1/sessions/{session['id']}/close")
    await api.asked("ada", "POST", "/v1/tasks/cancel", {"ids": [task]})
    await api.asked("ada", "POST", "/v1/sessions", {"name": "mine"})
    await api.asked("ada", "POST", "/v1/tokens", {})
    opened, closed, issued = await log_of(api)
    assert (opened["who"], opened["role"], opened["about"]["user"]) == ("slurm", "service", "ada")
    assert closed["what"] == "close session"
    assert (issued["who"], issued["what"], issued["role"]) == ("ada", "issue token", None)


async def test_what_was_refused_is_told_with_why(served: VirtualManager, api: LocalApi) -> None:
    assert (await api.ask("boss", "POST", "/v1/policy/reload"))[0] == 400
    assert (await api.ask("boss", "POST", "/v1/tasks/77/settle", {"counts": {"0": 3}}))[0] == 404
    assert (await api.ask("eve", "POST", "/v1/qpus/q/drain", {}))[0] == 403
    await served.settle()
    reload, settle, denied = await log_of(api)
    assert reload["what"] == "reload policy"
    assert reload["outcome"] == "refused: this manager has no site file to read"
    assert (settle["what"], settle["about"]) == ("settle", {"task_id": 77})
    assert (denied["who"], denied["what"]) == ("eve", "POST /v1/qpus/{name}/drain")
    assert denied["outcome"].startswith("refused: eve is no operator")


async def test_a_wrong_proof_is_told_without_it_and_no_proof_is_not_told(
    served: VirtualManager, api: LocalApi
) -> None:
    assert (await api.ask("liar-5ecret", "GET", "/v1/tasks"))[0] == 401
    assert (await api.ask("", "GET", "/v1/tasks"))[0] == 401
    await served.settle()
    (entry,) = await log_of(api)
    assert (entry["who"], entry["how"], entry["origin"]) == (None, "Says", HOST)
    assert entry["outcome"] == "refused: nobody believes …"
    assert "5ecret" not in json.dumps(entry)


async def test_a_flood_of_wrong_proofs_leaves_few_rows_and_says_how_many_it_was(
    served: VirtualManager, api: LocalApi
) -> None:
    for _ in range(MOST_A_MINUTE + 7):
        await api.ask("liar", "GET", "/v1/tasks")
    await served.pass_time(61.0)
    assert len(await log_of(api)) == MOST_A_MINUTE
    await api.ask("liar", "GET", "/v1/tasks")
    await served.settle()
    assert (await log_of(api))[-1]["about"] == {"not_recorded_before": 7}


async def test_the_log_is_paged_and_filtered_and_for_operators_only(
    served: VirtualManager, api: LocalApi
) -> None:
    for user in ("boss", "chief", "boss"):
        await api.asked(user, "POST", "/v1/qpus/q/drain", {})
        await api.asked(user, "POST", "/v1/qpus/q/resume")
    now = (await api.asked("boss", "GET", "/v1/health"))["now"]
    await served.pass_time(100.0)
    await api.asked("boss", "POST", "/v1/qpus/q/drain", {})
    everything = await log_of(api)
    assert len(everything) == 7
    assert [one["what"] for one in await log_of(api, "?by=chief")] == ["drain", "resume"]
    assert {one["what"] for one in await log_of(api, "?what=resume")} == {"resume"}
    assert await log_of(api, "?by=ada") == []
    page = await api.asked("boss", "GET", "/v1/audit?limit=3")
    assert [one["n"] for one in page["entries"]] == [one["n"] for one in everything[:-4:-1]]
    older = await api.asked("boss", "GET", f"/v1/audit?limit=9&before={page['before']}")
    assert [one["n"] for one in older["entries"]] == [one["n"] for one in everything[3::-1]]
    assert older["before"] is None
    later = now.replace("00Z", "01Z").replace("+", "%2B")
    assert len(await log_of(api, f"?since={later}")) == 1
    assert (await api.ask("ada", "GET", "/v1/audit"))[0] == 403
