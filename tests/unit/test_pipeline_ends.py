"""However an engine loses a task, the run hears of its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qpu_executor.pipelines.execution import Execution


class Lost:
    """A Dask future that says nothing of its error, or can't be asked."""

    status = "lost"

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def exception(self, timeout: float) -> None:
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [None, TimeoutError("the scheduler is gone")])
def test_a_task_that_dask_lost_has_failed(error: Exception | None) -> None:
    engine = pytest.importorskip("qpu_executor.pipelines.engines.dask_engine")
    found = engine._error(Lost(error))
    assert found is error if error is not None else "Dask lost the task" in str(found)


def test_a_fan_out_whose_results_can_t_be_fetched_has_failed() -> None:
    told: list[Any] = []

    def value(handle: object) -> Any:
        raise ConnectionError("the scheduler is gone")

    engine: Any = SimpleNamespace(value=value)
    tracker: Any = SimpleNamespace(fan_out_ended=lambda *said: told.append(said))
    execution = Execution(None, None, engine, tracker)  # type: ignore[arg-type]
    step: Any = SimpleNamespace(name="many")
    execution._on_fan_out(step, object(), None)
    execution.close()
    ((name, count, error),) = told
    assert (name, count, type(error)) == ("many", None, ConnectionError)
