"""Which way in takes which option of a task: the page's table is the code's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from qpu_executor.cli import main
from qpu_executor.client import TaskOrder
from qpu_executor.client.order import to_request
from qpu_executor.client.wishes import WISHES, given, with_defaults
from qpu_executor.dask.options import QuantumOptions
from qpu_executor.errors import RequestRefused
from qpu_executor.model.stopping import StopRule
from qpu_executor.parsl.options import OPTIONS
from qpu_executor.pipelines.document import Step
from qpu_executor.pipelines.session import QpuSession
from qpu_executor.pipelines.step_wishes import STEP_WISHES
from qpu_executor.programs.program import Program
from qpu_executor.pulser import QPUConnection
from qpu_executor.wire.tasks import TaskRequest, WishesOut

PAGE = Path(__file__).parents[2] / "docs" / "task-options.md"
PROGRAM = Program("opaque", "x")
VALUES: dict[str, Any] = {
    "device": "AnalogDevice",
    "require": {"min_qubits": 5, "emulated": False},
    "begin_at": datetime(2026, 11, 23, tzinfo=UTC),
    "deadline_at": datetime(2026, 11, 24, tzinfo=UTC),
    "time_limit_s": 60.0,
    "on_recalibration": "restart",
    "max_calibration_age_s": 600.0,
    "min_quality": 0.9,
    "shot_s": 0.5,
    "path_s": 1000.0,
    "stop_when": StopRule(3, distinct=2),
}
ROWS = [one.name for one in fields(TaskOrder) if one.name != "program"]
CLI_NAMES = {
    "job_class": "--class",
    "shot_s": "--shot-time",
    "path_s": "--path-time",
    "begin_at": "--begin",
    "deadline_at": "--deadline",
    "time_limit_s": "--time-limit",
    "max_calibration_age_s": "--max-calibration-age",
}


def names_of(function: Callable[..., Any]) -> set[str]:
    """Its parameters, and every wish where it takes wishes."""
    parameters = inspect.signature(function).parameters.values()
    open_end = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return {one.name for one in parameters} | (set(WISHES) if open_end else set())


def cli_options() -> dict[str, str]:
    main._register()
    group: Any = typer.main.get_command(main.app)
    known = {name for param in group.commands["submit"].params for name in param.opts}
    named = {row: CLI_NAMES.get(row, f"--{row.replace('_', '-')}") for row in ROWS}
    return {row: option for row, option in named.items() if option in known}


def doors() -> dict[str, Mapping[str, str]]:
    """Each way in with the options that it takes, and how it writes them."""

    def plain(names: set[str]) -> dict[str, str]:
        return {row: "yes" for row in ROWS if row in names}

    return {
        "HTTP": plain(set(TaskRequest.model_fields)),
        "Python": plain({one.name for one in fields(TaskOrder)}),
        "`qpu submit`": {row: f"`{option}`" for row, option in cli_options().items()},
        "pipeline step": plain(set(Step.model_fields)),
        "`qpu.run` in a hybrid step": plain(names_of(QpuSession.run)),
        "`@quantum_app`": plain(set(OPTIONS)),
        "`quantum_task`": plain({one.name for one in fields(QuantumOptions)}),
        "`QPUConnection`": plain(names_of(QPUConnection.__init__)),
    }


def table() -> str:
    found = doors()
    lines = [["option", *found], ["---"] * (len(found) + 1)]
    lines += [[f"`{row}`", *(one.get(row, "") for one in found.values())] for row in ROWS]
    return "\n".join(
        "|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines
    )


def test_table_of_the_page_is_that_of_the_code() -> None:
    assert table() in PAGE.read_text("utf-8"), f"the table is now:\n{table()}"


def test_every_task_option_of_the_wire_is_an_option_of_an_order() -> None:
    assert set(ROWS) == set(TaskRequest.model_fields) - {"program", "program_hash"}


def test_wishes_are_those_of_the_wire_but_for_dependencies() -> None:
    wire = set(WishesOut.model_fields) - {"session_ends_at", "depends_on"}
    assert set(WISHES) == wire == set(VALUES)


def test_what_no_door_leaves_out_but_says_why() -> None:
    """An option that some door doesn't take is named below the table."""
    text = PAGE.read_text("utf-8").partition("Where an option isn't taken")[2]
    gaps = {row for row in ROWS for door in doors().values() if row not in door}
    assert {row for row in gaps if f"`{row}`" not in text} == set()


# -- what a door takes arrives -----------------------------------------------------------


def said(order: TaskOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in WISHES}


def test_dask_hands_every_wish_on() -> None:
    options = QuantumOptions(shots=5, account="chem", **VALUES)
    options.check()
    (order,) = options.orders([PROGRAM], name="n", token="t", many=False)
    assert (said(order), order.account) == (VALUES, "chem")


def test_dask_without_wishes_orders_as_ever() -> None:
    (order,) = QuantumOptions(shots=5).orders([PROGRAM], name="n", token="t", many=False)
    assert order == TaskOrder(PROGRAM, 5, name="n", key="dask:t", key_origin="engine")


class Client:
    """What a hybrid step's session uses of a client."""

    def __init__(self) -> None:
        self.orders: list[TaskOrder] = []

    def submit_many(self, orders: list[TaskOrder]) -> list[Any]:
        self.orders += orders
        return [SimpleNamespace(result=lambda: None) for _ in orders]


def session(client: Client, **options: Any) -> QpuSession:
    own: dict[str, Any] = {"shots": 5, "job_class": None, "qpu": None, "priority": 0, **options}
    found = QpuSession(manager="", session=None, name="s", key="k", seed=lambda n: n, **own)
    found._client = client  # type: ignore[assignment]
    return found


def test_hybrid_call_has_its_steps_wishes_and_its_own_go_before() -> None:
    client = Client()
    qpu = session(client, qpu="fresnel", wishes={"time_limit_s": 9.0, "min_quality": 0.5})
    qpu.run(PROGRAM)
    qpu.run(PROGRAM, **VALUES)
    first, second = client.orders
    assert (first.qpu, first.time_limit_s, first.min_quality) == ("fresnel", 9.0, 0.5)
    assert said(second) == VALUES
    with pytest.raises(RequestRefused, match="did you mean 'device'"):
        qpu.run(PROGRAM, devise="x")  # type: ignore[call-arg]
    assert second.qpu is None, "the call names a device: the step's QPU is no default for it"


@pytest.mark.parametrize("name", WISHES)
def test_order_takes_the_value_and_the_wire_too(name: str) -> None:
    request = to_request(TaskOrder(PROGRAM, 5, **{name: VALUES[name]}), None)
    assert request.model_fields_set >= {name}
    assert getattr(request, name) is not None


def test_unknown_requirement_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestRefused, match=r"min_qbits: unknown name.*'min_qubits'"):
        QuantumOptions(shots=5, require={"min_qbits": 5}).check()


def test_who_names_a_place_wants_no_other_by_default() -> None:
    defaults = {"qpu": "a", "job_class": "test", "require": {"min_qubits": 2}}
    assert with_defaults(defaults, {"device": "D", "qpu": None}) == {
        "device": "D",
        "job_class": "test",
        "require": {"min_qubits": 2},
    }
    assert with_defaults(defaults, {"device": None}) == defaults
    assert given({"seed": 0, "name": None}) == {"seed": 0}


def test_step_wishes_are_keys_of_a_step() -> None:
    assert set(STEP_WISHES) <= set(Step.model_fields)
