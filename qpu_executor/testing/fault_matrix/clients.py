"""Somebody's client, as a process of its own: it submits with keys, and may be killed meanwhile.

What it was told is written down at once, a line for each task: what stands there was
acknowledged. Another client with the same keys adopts what there is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from qpu_executor.client import Client, TaskOrder, connect
from qpu_executor.programs.program import Program

WAIT_S = 150.0


@cache
def program() -> Program:
    """What everybody runs: three atoms, a fifth of a microsecond."""
    from qpu_executor.programs.pulser_sequence import to_program
    from qpu_executor.testing.sequences import small_sequence

    return to_program(small_sequence())


def run(arguments: Mapping[str, Any]) -> None:
    """Submit `tasks` (key -> shots) to `url`, `together` at a time, as `uid`, into `told`.

    With `results` (a path) it also waits for all of them, and writes down what they measured.
    """
    # Files first: another user can't enter this directory.
    told = os.open(arguments["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    wanted = arguments.get("results")
    results = None if wanted is None else os.open(wanted, os.O_WRONLY | os.O_CREAT, 0o600)
    if arguments.get("uid") is not None:
        os.setgroups([])
        os.setgid(arguments["uid"])
        os.setuid(arguments["uid"])
    with connect(arguments["url"], wait_s=WAIT_S) as client:
        ids = _submit(client, arguments["tasks"], arguments["together"], told)
        if results is not None:
            with os.fdopen(results, "w") as file:
                json.dump(_results(client, ids), file)


def _submit(client: Client, tasks: Mapping[str, int], together: int, told: int) -> dict[str, int]:
    ids: dict[str, int] = {}
    keys = list(tasks)
    for at in range(0, len(keys), together):
        some = keys[at : at + together]
        orders = [TaskOrder(program(), tasks[key], key=key, seed=7, name=key) for key in some]
        for key, task in zip(some, client.submit_many(orders), strict=True):
            ids[key] = task.id
            os.write(told, json.dumps({"key": key, "id": task.id}).encode() + b"\n")
    return ids


def _results(client: Client, ids: Mapping[str, int]) -> dict[str, dict[str, int]]:
    for task_id in ids.values():
        client.task(task_id).result(timeout=WAIT_S)
    found = client.results(ids.values())
    return {key: dict(found[task_id].counts) for key, task_id in ids.items()}
