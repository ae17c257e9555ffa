"""Verbs about sessions: open, list, show, heartbeat, hold, release, close."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.moments import read_moment, read_span
from qpu_executor.cli.session_text import (
    heartbeat_text,
    session_line,
    session_text,
    sessions_text,
)
from qpu_executor.client import SessionTerms
from qpu_executor.client.session_terms import within_allocation
from qpu_executor.errors import ConfigError
from qpu_executor.model.sessions import TaskFate, WorkShape
from qpu_executor.slurm import this_job
from qpu_executor.wire.sessions import SessionOut

session = typer.Typer(
    help="Sessions: leases, when your allocation ends, and QPUs that are kept warm.",
    no_args_is_help=True,
    add_completion=False,
)

Id = Annotated[str, typer.Argument(help="The session's id (`qpu session list`).")]
LingerOption = Annotated[
    str | None,
    typer.Option("--linger", help="Keep the QPU so long after each task: 20s, 1:30."),
]
RunOption = Annotated[
    str | None,
    typer.Option("--contiguous", help="Keep others out from now on, for so long: 30min."),
]
QpuOption = Annotated[
    str | None, typer.Option("--qpu", help="Which QPU to keep, where more than one may be.")
]


@session.callback()
def _session() -> None:
    """Sessions: leases, when your allocation ends, and QPUs that are kept warm."""


@session.command("open")
def open_session(
    name: Annotated[str, typer.Argument(help="A name for people.")] = "",
    account: Annotated[str | None, typer.Option(help="Whom its tasks are charged to.")] = None,
    key: Annotated[
        str | None, typer.Option(help="The same key finds the same open session.")
    ] = None,
    ends_at: Annotated[
        str | None,
        typer.Option("--ends-at", help="When its allocation ends: 14:30, now+2h. Default: Slurm's"),
    ] = None,
    shape: Annotated[
        WorkShape | None, typer.Option("--shape", help="Where its work spends its time.")
    ] = None,
    expected_tasks: Annotated[
        int | None, typer.Option("--expected-tasks", help="How many it will submit.", min=1)
    ] = None,
    think_time: Annotated[
        str | None, typer.Option("--think-time", help="Between two of its tasks: 90s, 5:00.")
    ] = None,
    job_class: Annotated[
        str | None, typer.Option("--class", "-c", help="Of its tasks that name none.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Whose it is (services, as a Slurm prolog).")
    ] = None,
    uid: Annotated[int | None, typer.Option("--uid", help="That user's number.", min=0)] = None,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="The Slurm job's own: there is one for each.")
    ] = False,
    lease: Annotated[
        str | None,
        typer.Option("--lease", help="Lost, and paused, without a heartbeat for so long: 60s."),
    ] = None,
    idle: Annotated[
        str | None, typer.Option("--idle", help="Ends after so long without a task: 2h.")
    ] = None,
    lifetime: Annotated[str | None, typer.Option("--lifetime", help="Ends after so long.")] = None,
    on_close: Annotated[
        TaskFate | None, typer.Option("--on-close", help="Its tasks when it is closed.")
    ] = None,
    on_lost: Annotated[
        TaskFate | None, typer.Option("--on-lost", help="Its tasks when its lease is lost.")
    ] = None,
    linger: LingerOption = None,
    contiguous: RunOption = None,
    qpu: QpuOption = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a session; prints its id. Within a Slurm allocation it ends when that does."""
    if slurm and this_job() is None:
        raise ConfigError(
            "this is no Slurm job: SLURM_JOB_ID isn't set",
            where="qpu session open --slurm",
            next_step="leave --slurm out, or run it in a job, its Prolog or its Epilog",
        )
    with connected(manager) as client:
        terms = SessionTerms(
            ends_at=None
            if ends_at is None
            else read_moment(ends_at, managers_now(client), "--ends-at"),
            shape=shape,
            expected_tasks=expected_tasks,
            think_s=_span(think_time, "--think-time"),
            job_class=job_class,
            linger_s=_span(linger, "--linger"),
            run_s=_span(contiguous, "--contiguous"),
            qpu=qpu,
            lease_s=_span(lease, "--lease"),
            idle_s=_span(idle, "--idle"),
            lifetime_s=_span(lifetime, "--lifetime"),
            on_close=on_close,
            on_lost=on_lost,
        )
        found = client.open_session(
            name,
            key,
            account=account,
            terms=within_allocation(terms),
            user=user,
            uid=uid,
            kind="slurm" if slurm else "run",
        )
    print(found.model_dump_json() if as_json else found.id)


@session.command("list")
def list_sessions(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also closed ones.")] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your sessions: what they said, and what they keep."""
    with connected(manager) as client:
        found = [one for one in client.sessions() if everything or one.closed_at is None]
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found]))
    else:
        print(sessions_text(found))


@session.command("show")
def show(session_id: Id, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Show a session: its lease and limits, its Slurm job, its tasks so far."""
    with connected(manager) as client:
        found = client.session(session_id)
    print(found.model_dump_json() if as_json else session_text(found))


@session.command("heartbeat")
def heartbeat(session_id: Id, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Renew a session's lease; one that was lost comes back, and its tasks go on."""
    with connected(manager) as client:
        found = client.heartbeat(session_id)
    print(found.model_dump_json() if as_json else heartbeat_text(found))


@session.command("hold")
def hold(
    session_id: Id,
    linger: LingerOption = None,
    contiguous: RunOption = None,
    qpu: QpuOption = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a QPU warm for a session, within the site's bounds; what it waits is charged."""
    if (linger is None) == (contiguous is None):
        raise ConfigError(
            "what is to be kept?",
            where="qpu session hold",
            expected="either --linger SPAN or --contiguous SPAN",
        )
    linger_s, run_s = _span(linger, "--linger"), _span(contiguous, "--contiguous")
    with connected(manager) as client:
        _print(client.keep_warm(session_id, linger_s=linger_s, run_s=run_s, qpu=qpu), as_json)


@session.command("release")
def release(session_id: Id, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Give back what a session keeps (operators: anybody's)."""
    with connected(manager) as client:
        _print(client.give_back(session_id), as_json)


@session.command("close")
def close(
    session_id: Id,
    tasks: Annotated[
        TaskFate | None,
        typer.Option("--tasks", help="What becomes of its tasks. Default: as it or the site says."),
    ] = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a session: no new tasks, nothing kept (services: anybody's)."""
    with connected(manager) as client:
        _print(client.close_session(session_id, tasks=tasks), as_json)


# -- below: no verbs ------------------------------------------------------------


def _span(text: str | None, where: str) -> float | None:
    return None if text is None else read_span(text, where)


def _print(found: SessionOut, as_json: bool) -> None:
    state = " (closed)" if found.closed_at is not None else ""
    print(found.model_dump_json() if as_json else f"session {session_line(found)}{state}")
