"""A client's lease of a session: when it is renewed, what its user is told, and for which job."""

from __future__ import annotations

import pytest

from qpu_executor.client.connect import default_session
from qpu_executor.client.lease import Lease
from qpu_executor.client.session_terms import SessionTerms, session_request, within_allocation
from qpu_executor.errors import ConfigError, ManagerUnreachable, RequestRefused
from qpu_executor.model.sessions import SlurmJob, TaskFate
from qpu_executor.slurm import this_job
from qpu_executor.wire.sessions import HeartbeatOut

LOST = ManagerUnreachable("no manager answered", where="http://x")


def beat(**fields: object) -> HeartbeatOut:
    return HeartbeatOut(id="s", state="open", lease_s=60.0, **fields)  # type: ignore[arg-type]


def test_lease_is_renewed_three_times_in_its_length_and_not_by_all_at_once() -> None:
    lease = Lease("s", 60.0, 0.0)
    assert lease.pause_s(0.0) == pytest.approx(16.0)
    assert lease.pause_s(0.5) == pytest.approx(20.0)
    assert lease.pause_s(0.999) < 24.1
    assert lease.patience_s == pytest.approx(20.0)


def test_renewal_that_failed_is_tried_again_long_before_the_lease_is_over() -> None:
    lease = Lease("s", 60.0, 0.0)
    lease.unanswered(LOST, 40.0)  # 20 s until it was due, and 20 s of patience
    assert lease.pause_s(0.999) < 6.1
    lease.renewed(beat(), 45.0)
    assert lease.pause_s(0.5) == pytest.approx(20.0)


def test_user_is_told_once_when_a_lease_must_have_run_out_and_again_after_an_answer() -> None:
    lease = Lease("s", 60.0, 100.0)
    assert lease.unanswered(LOST, 159.0) is None
    told = lease.unanswered(LOST, 161.0)
    assert told is not None
    assert "couldn't be renewed for 61 s" in told
    assert lease.unanswered(LOST, 300.0) is None
    assert lease.renewed(beat(), 301.0) is None
    assert lease.unanswered(LOST, 362.0) is not None


def test_user_is_told_which_tasks_go_on_after_a_loss() -> None:
    lease = Lease("s", 60.0, 0.0)
    told = lease.renewed(beat(was_lost=True, released=[7, 8]), 90.0)
    assert told is not None
    assert "had lost its lease of 60 s, and has it back" in told
    assert "go on: 7, 8" in told
    assert "none of its tasks had waited" in str(lease.renewed(beat(was_lost=True), 95.0))


def test_lease_takes_the_length_that_the_manager_says() -> None:
    lease = Lease("s", 60.0, 0.0)
    lease.renewed(HeartbeatOut(id="s", state="open", lease_s=6.0), 1.0)
    assert lease.pause_s(0.5) == pytest.approx(2.0)


def test_terms_about_a_lease_travel_only_where_they_are_given() -> None:
    plain = session_request(SessionTerms(), "n", "k", None)
    assert set(plain.model_dump(exclude_defaults=True)) == {"name", "key"}
    job = SlurmJob("c", 7, 1)
    terms = SessionTerms(lease_s=30.0, on_close="cancel", on_lost=TaskFate.FINISH, slurm=job)
    sent = session_request(terms, "n", "k", None).model_dump(exclude_defaults=True, mode="json")
    assert sent == {
        "name": "n",
        "key": "k",
        "lease_s": 30.0,
        "on_close": "cancel",
        "on_lost": "finish",
        "slurm": {"cluster": "c", "job_id": 7, "restart_count": 1},
    }
    assert terms.without_lease() == SessionTerms()
    with pytest.raises(RequestRefused, match="on_close"):
        session_request(SessionTerms(on_close="kill"), "n", "k", None)  # type: ignore[arg-type]


# -- Slurm's environment ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ("", None),
        ("JOB_ID=17", SlurmJob("slurm", 17)),
        ("CLUSTER_NAME=q JOB_ID=17 RESTART_COUNT=2", SlurmJob("q", 17, 2)),
        ("CLUSTER_NAME=q JOB_ID=17 JOB_RESTART_COUNT=1", SlurmJob("q", 17, 1)),
        (
            "CLUSTER_NAME=q JOB_ID=19 ARRAY_JOB_ID=18 ARRAY_TASK_ID=0",
            SlurmJob("q", 19, 0, array_job_id=18, array_task_id=0),
        ),
        (
            "CLUSTER_NAME=q JOB_ID=21 HET_SIZE=2 JOB_ID_HET_GROUP_0=20 JOB_ID_HET_GROUP_1=21",
            SlurmJob("q", 20, het_size=2),
        ),
        ("CLUSTER_NAME=q JOB_ID=21 HET_JOB_ID=20", SlurmJob("q", 20)),
    ],
)
def test_job_of_the_environment(environ: str, job: SlurmJob | None) -> None:
    assert this_job({f"SLURM_{k}": v for k, v in (e.split("=") for e in environ.split())}) == job


def test_number_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="SLURM_JOB_ID='many' is no number"):
        this_job({"SLURM_JOB_ID": "many"})


def test_session_of_the_environment_is_that_of_the_environments_manager(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QPU_SESSION", "s")
    assert default_session(None, None) is None, "no manager of the environment"
    monkeypatch.setenv("QPU_MANAGER", "http://x")
    assert default_session(None, None) == "s"
    assert default_session(None, "http://x") == "s"
    assert default_session(None, "http://y") is None
    assert default_session("mine", "http://x") == "mine"


def test_terms_within_a_job_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "q")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert within_allocation().slurm == SlurmJob("q", 17)
    mine = SlurmJob("elsewhere", 1)
    assert within_allocation(SessionTerms(slurm=mine)).slurm == mine
