"""What `qpu queue --everyone` prints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from qpu_executor.cli.queue_text import queue_text
from qpu_executor.model.states import TaskState
from qpu_executor.wire.queue import QueueOut, QueueRowOut


def a_row(**fields: Any) -> QueueRowOut:
    values = {
        "task": None, "owner": None, "yours": False, "rank": None, "job_class": "test",
        "state": TaskState.QUEUED, "shots": 100, "shots_done": 0, "qpu": None,
    }  # fmt: skip
    return QueueRowOut.model_validate({**values, **fields})


def a_queue(rows: list[QueueRowOut], shown: str, **fields: Any) -> QueueOut:
    values = {"running": 1, "waiting": 2, "held": 0, "more": False, "as_of": datetime.now(UTC)}
    return QueueOut.model_validate({**values, "rows": rows, "shown": shown, **fields})


def test_rows_of_others_have_no_name_where_the_site_gives_none() -> None:
    rows = [
        a_row(state=TaskState.RUNNING, shots_done=30, qpu="fresnel"),
        a_row(rank=2, task=7, owner="ada", yours=True),
    ]
    assert queue_text(a_queue(rows, "anonymous", more=True)).splitlines() == [
        "RANK  TASK  OWNER  CLASS  STATE     SHOTS  QPU",
        "   -     -  -      test   RUNNING  30/100  fresnel",
        "   2     7  you    test   QUEUED    0/100  -",
        "… and more",
        "1 running, 2 waiting, 0 held",
        "others' tasks are listed without number and owner: the site's choice",
    ]


def test_own_says_that_others_are_only_counted_and_open_names_them() -> None:
    assert "counted, not listed" in queue_text(a_queue([], "own"))
    text = queue_text(a_queue([a_row(task=3, owner="grace", rank=1)], "open"))
    assert "grace" in text
    assert text.endswith("0 held")
