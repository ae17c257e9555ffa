"""What workflows say of themselves: terms of sessions, Slurm's end time, work to come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import SessionTerms
from qpu_executor.client.session_terms import session_request, within_allocation
from qpu_executor.errors import ConfigError, RequestRefused
from qpu_executor.model.sessions import WorkShape
from qpu_executor.pipelines.document import SessionWishes, load
from qpu_executor.pipelines.paths import remaining_s
from qpu_executor.pipelines.plan import StepPlan
from qpu_executor.pipelines.run_session import open_run_session
from qpu_executor.slurm import allocation_left_s

END = "SLURM_JOB_END_TIME"


def test_allocation_has_the_time_left_that_slurm_says() -> None:
    assert allocation_left_s({END: "1060"}, now_s=1000.0) == 60.0
    assert allocation_left_s({}, now_s=1000.0) is None


@pytest.mark.parametrize("said", ["soon", "nan", "inf"])
def test_end_time_that_is_none_is_refused_by_name(said: str) -> None:
    with pytest.raises(ConfigError, match=f"{END}='{said}'"):
        allocation_left_s({END: said}, now_s=1000.0)


def test_allocation_that_is_over_says_for_how_long() -> None:
    with pytest.raises(ConfigError, match="ended 40 s ago"):
        allocation_left_s({END: "960"}, now_s=1000.0)


def test_terms_end_with_the_allocation_unless_they_name_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(END, "4102444800")
    found = within_allocation(SessionTerms(shape="balanced")).ends_in_s
    assert found is not None
    assert found > 0
    assert within_allocation(SessionTerms(ends_in_s=5.0)).ends_in_s == 5.0
    monkeypatch.delenv(END)
    assert within_allocation(None) == SessionTerms()


def test_request_says_only_what_is_said_so_that_older_managers_understand_it() -> None:
    plain = session_request(SessionTerms(), "n", "k", None)
    assert plain.model_dump(exclude_defaults=True) == {"name": "n", "key": "k"}
    full = session_request(SessionTerms(shape="qpu-heavy", run_s=5.0), "n", "k", None)
    assert full.shape is WorkShape.QPU_HEAVY
    assert full.keep_warm is not None
    assert full.keep_warm.run_s == 5.0


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (SessionTerms(linger_s=5.0, run_s=5.0), "either linger_s or run_s"),
        (SessionTerms(linger_s=-1.0), "linger_s=-1.0 is not possible"),
        (SessionTerms(expected_tasks=0), "expected_tasks=0 is not possible"),
        (SessionTerms(ends_in_s=float("nan")), "ends_in_s=nan is not possible"),
        (SessionTerms(ends_in_s=float("-inf")), "ends_in_s=-inf is not possible"),
        (SessionTerms(run_s=float("inf")), "run_s=inf is not possible"),
    ],
)
def test_terms_that_no_manager_takes_are_refused_here(terms: SessionTerms, says: str) -> None:
    with pytest.raises(RequestRefused, match=says):
        session_request(terms, "n", "k", None)


# -- pipelines ----------------------------------------------------------------------------


def step(name: str, *needs: str, shots: int | None = None, **changes: Any) -> StepPlan:
    values: dict[str, Any] = {
        "kind": "call" if shots is None else "quantum",
        "function": "m.f",
        "arguments": {},
        "for_each": None,
        "items": None,
        "job_class": None,
        "qpu": None,
        "priority": 0,
        "retries": 0,
        "fingerprint": "",
        "body_fingerprint": "",
        **changes,
    }
    return StepPlan(name=name, needs=needs, shots=shots, stop_when=None, **values)


def test_work_to_come_follows_the_longest_chain_of_steps() -> None:
    steps = [
        step("first", shots=100),
        step("think", "first"),
        step("scan", "think", shots=50, for_each=[1, 2, 3], items=(1, 2, 3)),
        step("aside", "first", shots=10, qpu="slow"),
        step("last", "scan", "aside"),
    ]
    found = remaining_s(steps, {"fast": 5.0, "slow": 0.1})
    assert found == {"first": 20.0 + 100.0, "scan": 30.0, "aside": 100.0}


def test_work_to_come_is_unknown_without_a_rate() -> None:
    assert remaining_s([step("first", shots=100)], {"q": None}) == {}


PIPELINE = """
name: loop
session: {shape: classical-heavy, think_s: 30, keep_warm: {linger_s: 20}}
steps:
  one: {call: os.getcwd}
"""


def test_pipeline_file_says_what_its_session_says(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PIPELINE)
    session = load(path).document.session
    assert session is not None
    assert (session.shape, session.think_s) == (WorkShape.CLASSICAL_HEAVY, 30)
    path.write_text(PIPELINE.replace("think_s: 30", "thinks: 30"))
    with pytest.raises(ConfigError, match=r"unknown key.*think_s"):
        load(path)
    path.write_text(PIPELINE.replace("linger_s: 20", "linger_s: 20, run_s: 5"))
    with pytest.raises(ConfigError, match="either linger_s or run_s"):
        load(path)


class _Stingy:
    """A manager that opens sessions and keeps no QPU."""

    def __init__(self) -> None:
        self.terms: SessionTerms | None = None

    def open_session(self, name: str, key: str, terms: SessionTerms) -> Any:
        self.terms = terms
        return type("Session", (), {"id": f"{name}:{key}"})()

    def keep_warm(self, session_id: str, **wish: Any) -> None:
        raise RequestRefused("no QPU of this site is kept")


def test_pipeline_runs_where_no_qpu_is_kept_warm(caplog: pytest.LogCaptureFixture) -> None:
    manager: Any = _Stingy()
    wishes = SessionWishes.model_validate({"think_s": 5, "keep_warm": {"linger_s": 20}})
    assert open_run_session(manager, "n", "k", wishes) == "n:k"
    assert manager.terms == SessionTerms(think_s=5, leased=True)
    assert "no QPU is kept warm for the run" in caplog.text
