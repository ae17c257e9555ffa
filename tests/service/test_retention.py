"""What expires, what doesn't, and what a client sees of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.manager.service.retention import PAUSE_S
from qpu_executor.model.values import MICROSECONDS
from qpu_executor.settings import parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.local_api import LocalApi
from qpu_executor.testing.virtual_manager import START_AT, VirtualManager

SITE = """
manager: {health_every_s: 3600}
retention: {results_s: 86400, journal_s: 86400, audit_s: 172800}
fair_share: {half_life_s: 3600}
default_class: development
job_classes: {development: {priority: 100, chunk_s: 30}}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 100}}
"""

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
PROGRAM = coin_program("a")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[VirtualManager]:
    settings = parse_site(SITE, "site.yaml")
    async with VirtualManager(settings, build_site_policy(settings), tmp_path) as served:
        yield served


@pytest.fixture
def api(served: VirtualManager) -> LocalApi:
    return LocalApi(served.manager, operators=["boss"])


async def submitted(api: LocalApi, **fields: Any) -> dict[str, Any]:
    """The answer to one task of ada's."""
    program = {"kind": PROGRAM.kind, "content": PROGRAM.content}
    task = {"program": program, "shots": 100, **fields}
    _, _, text = await api.ask("ada", "POST", "/v1/tasks", {"tasks": [task]})
    found: dict[str, Any] = json.loads(text)
    return found["items"][0] if "items" in found else found


async def new_task(api: LocalApi, **fields: Any) -> int:
    return int((await submitted(api, **fields))["task"]["id"])


async def status(api: LocalApi, path: str, user: str = "ada") -> int:
    return (await api.ask(user, "GET", path))[0]


async def pruned(api: LocalApi, **fields: Any) -> dict[str, Any]:
    """The first answer of a prune, after all of it was dropped."""
    body = {"older_than_s": DAY_S, **fields}
    first: dict[str, Any] = await api.asked("boss", "POST", "/v1/retention/prune", body)
    while (await api.asked("boss", "POST", "/v1/retention/prune", body))["more"]:
        continue
    return first


def now_s(served: VirtualManager) -> float:
    return (served.clock.now() - START_AT) / MICROSECONDS


async def swept(served: VirtualManager, until_s: float) -> None:
    """Let time pass, and what has expired by then be dropped."""
    await served.pass_time(until_s)
    sweep = asyncio.create_task(served.manager.retention.sweep())
    while not sweep.done():
        await served.pass_time(now_s(served) + PAUSE_S)
    await sweep


async def test_the_manager_drops_by_itself_what_the_site_keeps_no_longer(
    served: VirtualManager, api: LocalApi
) -> None:
    old = await new_task(api, name="old")
    await served.pass_time(20 * HOUR_S)
    young = await new_task(api, name="young")
    assert await status(api, f"/v1/tasks/{old}/result") == 200
    await served.pass_time(24 * HOUR_S)
    assert await status(api, f"/v1/tasks/{old}/result") == 200
    while await status(api, f"/v1/tasks/{old}/result") == 200 and now_s(served) < 40 * HOUR_S:
        await served.pass_time(now_s(served) + 600.0)
    await swept(served, now_s(served))
    code, _, text = await api.ask("ada", "GET", f"/v1/tasks/{old}/result")
    problem = json.loads(text)
    assert (code, problem["code"]) == (410, "task-expired")
    assert f"task {old} was COMPLETED on 2027-01-15, and expired at 2027-01-16T" in text
    assert [await status(api, f"/v1/tasks/{old}{rest}") for rest in ("", "/why")] == [410, 410]
    assert await status(api, f"/v1/tasks/{young}/result") == 200
    listed = await api.asked("ada", "GET", "/v1/tasks")
    assert [one["id"] for one in listed["tasks"]] == [young]
    (named,) = (await api.asked("ada", "GET", f"/v1/tasks?ids={old}"))["tasks"]
    assert named["expired_at"] is not None, "a client that waits for it learns why in vain"
    assert (named["name"], named["state"]) == ("", "COMPLETED")
    assert (await api.asked("ada", "GET", f"/v1/results?ids={old},{young}"))["results"][0]["task"][
        "id"
    ] == young
    with closing(sqlite3.connect(served.store_file)) as store:
        told = store.execute("SELECT count(*) FROM journal WHERE task_id = ?", (old,)).fetchone()
    assert told == (0,)
    entries = (await api.asked("boss", "GET", "/v1/audit?what=prune"))["entries"]
    assert sum(one["about"]["tasks"] for one in entries) == 1
    assert {(one["who"], one["role"]) for one in entries} == {("the manager", None)}


async def test_an_expired_task_is_told_to_its_owner_and_operators_alone(
    served: VirtualManager, api: LocalApi
) -> None:
    old = await new_task(api)
    await swept(served, 30 * HOUR_S)
    for path in (f"/v1/tasks/{old}", f"/v1/tasks/{old}/result"):
        assert await status(api, path) == 410
        assert await status(api, path, "eve") == 404
    assert await status(api, f"/v1/tasks/{old}", "boss") == 410


async def test_a_key_of_an_expired_task_never_runs_it_again_unasked(
    served: VirtualManager, api: LocalApi
) -> None:
    done = await new_task(api, key="done")
    engine = await new_task(api, key="engine", key_origin="engine")
    given_up = await new_task(api, key="given up", held=True)
    await api.asked("ada", "POST", "/v1/tasks/cancel", {"ids": [given_up]})
    await swept(served, 30 * HOUR_S)
    for key in ("done", "engine"):
        refused = await submitted(api, key=key, key_origin="engine" if key == "engine" else "user")
        assert (refused["status"], refused["code"], refused["key"]) == (410, "task-expired", key)
        assert "new key" in refused["next_step"]
    again = await submitted(api, key="given up")
    assert again["created"] is True, "what was cancelled may be asked for anew, as before"
    assert again["task"]["id"] not in (done, engine, given_up)


async def test_what_is_still_needed_stays(served: VirtualManager, api: LocalApi) -> None:
    session = (await api.asked("ada", "POST", "/v1/sessions", {"name": "s"}))["id"]
    of_session = await new_task(api, session=session)
    first = await new_task(api)
    begin_at = "2027-03-01T00:00:00Z"
    waiting = await new_task(api, depends_on=[{"task": first}], begin_at=begin_at)
    held = await new_task(api, held=True)
    gone = await new_task(api)
    await swept(served, 30 * HOUR_S)
    assert [
        await status(api, f"/v1/tasks/{one}") for one in (of_session, first, waiting, held, gone)
    ] == [200, 200, 200, 200, 410]
    await api.asked("ada", "POST", f"/v1/sessions/{session}/close")
    await api.asked("ada", "POST", "/v1/tasks/cancel", {"ids": [waiting]})
    await swept(served, 60 * HOUR_S)
    assert [await status(api, f"/v1/tasks/{one}") for one in (of_session, first)] == [410, 410]
    assert await status(api, f"/v1/sessions/{session}") == 400, "nothing is left of it"
    assert (await submitted(api, depends_on=[{"task": first}]))["task"] is not None


async def test_an_operator_exports_and_drops_what_was_exported(
    served: VirtualManager, api: LocalApi
) -> None:
    served.manager.policy = build_site_policy(parse_site(SITE.replace("retention:", "#"), "s"))
    ids = [await new_task(api, name=f"t{n}") for n in range(3)]
    await served.pass_time(30 * HOUR_S)
    path = f"older_than_s={DAY_S}"
    found = await api.asked("boss", "GET", f"/v1/retention?{path}")
    assert found["tasks"] == 3, "nothing expires by itself where the site says nothing"
    page = await api.asked("boss", "GET", f"/v1/retention/records?{path}")
    assert page["tasks"] == ids
    for record, id_ in zip(page["records"], ids, strict=True):
        assert (record["record"], record["task"]["id"]) == ("task", id_)
        assert record["program"]["content"] == PROGRAM.content
        counts = [json.loads(chunk["counts"]) for chunk in record["chunks"]]
        assert sum(sum(one.values()) for one in counts) == 100
    dropped = await api.asked(
        "boss", "POST", "/v1/retention/prune", {"older_than_s": DAY_S, "tasks": ids[:1]}
    )
    assert (dropped["tasks"], dropped["more"]) == (1, True)
    assert [await status(api, f"/v1/tasks/{one}") for one in ids] == [410, 200, 200]
    assert (await pruned(api))["tasks"] == 2
    told = (await api.asked("boss", "GET", "/v1/audit"))["entries"]
    assert {one["what"] for one in told} == {"export", "prune"}
    assert {one["who"] for one in told} == {"boss"}


async def test_what_was_exported_is_dropped_although_more_is_old_enough_by_then(
    served: VirtualManager, api: LocalApi
) -> None:
    served.manager.policy = build_site_policy(parse_site(SITE.replace("retention:", "#"), "s"))
    session = (await api.asked("ada", "POST", "/v1/sessions", {"name": "mine"}))["id"]
    await api.asked("ada", "POST", f"/v1/sessions/{session}/close")
    first = await new_task(api)
    await served.pass_time(2 * HOUR_S)
    second = await new_task(api)
    await served.pass_time(25 * HOUR_S)
    records = f"/v1/retention/records?older_than_s={DAY_S}"
    body = {"older_than_s": DAY_S, "tasks": (await api.asked("boss", "GET", records))["tasks"]}
    assert body["tasks"] == [first]
    await api.asked("boss", "POST", "/v1/retention/prune", body)
    page = await api.asked("boss", "GET", records)
    assert page["tasks"] == []
    assert {one["record"] for one in page["records"]} == {"session", "journal"}
    (of_session,) = [one for one in page["records"] if one["record"] == "session"]
    assert (of_session["session"]["id"], of_session["session"]["owner"]) == (session, "ada")
    await served.pass_time(27 * HOUR_S)
    assert (await api.asked("boss", "GET", records))["tasks"] == [second]
    named = {name: page[name] for name in ("tasks", "sessions", "journal")}
    dropped = await api.asked(
        "boss", "POST", "/v1/retention/prune", {"older_than_s": DAY_S, **named}
    )
    assert (dropped["tasks"], dropped["sessions"]) == (0, 1)
    assert dropped["journal"] == len(page["journal"]) > 0


async def test_an_export_is_whole_although_somebody_prunes_meanwhile(
    served: VirtualManager, api: LocalApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.manager.policy = build_site_policy(parse_site(SITE.replace("retention:", "#"), "s"))
    task = await new_task(api)
    await served.pass_time(30 * HOUR_S)
    programs, others = served.manager.store.programs, []

    async def while_another_prunes(hashes: Any) -> Any:
        monkeypatch.setattr(served.manager.store, "programs", programs)
        others.append(asyncio.create_task(pruned(api)))
        for _ in range(200):  # time enough, if nothing keeps that one waiting
            if not others[0].done():
                await served.manager.store.load()
        return await programs(hashes)

    monkeypatch.setattr(served.manager.store, "programs", while_another_prunes)
    page = await api.asked("boss", "GET", f"/v1/retention/records?older_than_s={DAY_S}")
    assert (await others[0])["tasks"] == 1
    (record,) = page["records"]
    assert record["task"]["id"] == task
    assert record["program"]["content"] == PROGRAM.content
    assert record["chunks"]


@pytest.mark.parametrize("path", ["/v1/tasks/{}/result", "/v1/results?ids={}"])
async def test_a_result_that_expires_while_it_is_read_is_none_without_counts(
    served: VirtualManager, api: LocalApi, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    served.manager.policy = build_site_policy(parse_site(SITE.replace("retention:", "#"), "s"))
    task = await new_task(api)
    await served.pass_time(30 * HOUR_S)
    chunks = served.manager.store.chunks

    async def after_a_prune(ids: Any) -> Any:
        monkeypatch.setattr(served.manager.store, "chunks", chunks)
        assert (await pruned(api))["tasks"] == 1
        return await chunks(ids)

    monkeypatch.setattr(served.manager.store, "chunks", after_a_prune)
    code, _, text = await api.ask("ada", "GET", path.format(task))
    if "ids" in path:
        assert (code, json.loads(text)["results"]) == (200, [])
    else:
        assert (code, json.loads(text)["code"]) == (410, "task-expired")


async def test_what_shares_and_budgets_remember_is_not_dropped(
    served: VirtualManager, api: LocalApi
) -> None:
    task = await new_task(api)
    await served.pass_time(20 * HOUR_S)
    assert (await pruned(api, older_than_s=0))["tasks"] == 0
    assert await status(api, f"/v1/tasks/{task}/result") == 200
