"""Every request that the client makes, as a value. No I/O.

`repeatable` says whether a request may be sent again when no answer came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from qpu_executor.model.sessions import TaskFate
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.wire.policy import DrainRequest, SettleRequest, WindowRequest
from qpu_executor.wire.retention import PruneRequest
from qpu_executor.wire.sessions import CloseRequest, KeepWarmRequest, SessionRequest
from qpu_executor.wire.tasks import ProgramIn, SubmitRequest, TaskIds, TaskRequest
from qpu_executor.wire.tokens import TokenRequest

MAX_TASKS = 1000
"""Tasks per submission."""
MAX_BYTES = 8_000_000
"""About the largest body of a submission."""
MAX_IDS = 500
"""Ids per query: keeps a request line far under the 64 kB that servers accept."""
MAX_RESULTS = 200
"""Results per answer, which carry counts and chunks."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request. `path` with its query; `body` is JSON, None where there is none."""

    method: str
    path: str
    body: bytes | None = None
    key: str | None = None
    repeatable: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """Headers of this request."""
        headers = {"accept": "application/json"}
        if self.body is not None:
            headers["content-type"] = "application/json"
        if self.key is not None:
            headers["idempotency-key"] = self.key
        return headers


def health() -> ApiRequest:
    """Who answers -> HealthOut."""
    return ApiRequest("GET", "/v1/health")


def submission(tasks: Sequence[TaskRequest], programs: dict[str, Program]) -> ApiRequest:
    """Submit tasks that name their programs by hash -> SubmitAnswer.

    `programs`: by hash; each is sent once. A single task carries its program itself.
    """
    if len(tasks) == 1:
        (task,) = tasks
        task = _with_program(task, programs[task.program_hash or ""])
        return _post("/v1/tasks", SubmitRequest(tasks=[task]), key=task.key)
    needed = {task.program_hash or "": programs[task.program_hash or ""] for task in tasks}
    wires = {h: ProgramIn(kind=p.kind, content=p.content) for h, p in needed.items()}
    return _post("/v1/tasks", SubmitRequest(tasks=list(tasks), programs=wires))


def task_page(
    *,
    ids: Sequence[int] | None = None,
    states: Iterable[TaskState] = (),
    session: str | None = None,
    after_id: int = 0,
    limit: int = MAX_TASKS,
) -> ApiRequest:
    """A page of the caller's tasks -> TaskList."""
    query: dict[str, str] = {"limit": str(limit)}
    if ids is not None:
        query["ids"] = _comma(ids)
    if names := ",".join(states):
        query["state"] = names
    if session is not None:
        query["session"] = session
    if after_id:
        query["after_id"] = str(after_id)
    return _get("/v1/tasks", query)


def queue(limit: int) -> ApiRequest:
    """Everybody's tasks that wait or run, as far as the site shows them -> QueueOut."""
    return _get("/v1/queue", {"limit": str(int(limit))})


def task_detail(task_id: int) -> ApiRequest:
    """A task with its chunks -> TaskDetail."""
    return _get(f"/v1/tasks/{int(task_id)}")


def results(ids: Sequence[int]) -> ApiRequest:
    """Results of the completed ones among `ids` -> ResultList."""
    return _get("/v1/results", {"ids": _comma(ids)})


def partial_result(task_id: int) -> ApiRequest:
    """The shots so far of a task -> ResultOut."""
    return _get(f"/v1/tasks/{int(task_id)}/result", {"partial": "true"})


def cancel(ids: Sequence[int]) -> ApiRequest:
    """Cancel tasks -> TaskList. Cancelling twice is cancelling once."""
    return _post("/v1/tasks/cancel", TaskIds(ids=list(ids)))


def hold(ids: Sequence[int]) -> ApiRequest:
    """Keep tasks back -> TaskList."""
    return _post("/v1/tasks/hold", TaskIds(ids=list(ids)), repeatable=False)


def release(ids: Sequence[int]) -> ApiRequest:
    """Let held tasks go on -> TaskList."""
    return _post("/v1/tasks/release", TaskIds(ids=list(ids)), repeatable=False)


def requeue(ids: Sequence[int]) -> ApiRequest:
    """Stop the chunks of running tasks and queue these again -> TaskList."""
    return _post("/v1/tasks/requeue", TaskIds(ids=list(ids)), repeatable=False)


def settle(task_id: int, verdict: SettleRequest) -> ApiRequest:
    """Say what became of a task's chunk that is UNKNOWN -> TaskOut."""
    return _post(f"/v1/tasks/{int(task_id)}/settle", verdict, repeatable=False)


def why(task_id: int) -> ApiRequest:
    """Why a task isn't running now -> WhyOut."""
    return _get(f"/v1/tasks/{int(task_id)}/why")


def estimate(task: TaskRequest, program: Program) -> ApiRequest:
    """What a task would need, without submitting it -> EstimateOut."""
    return _post("/v1/estimate", _with_program(task, program))


def program(program_hash: str) -> ApiRequest:
    """A program that the caller has submitted -> ProgramIn."""
    return _get(f"/v1/programs/{quote(program_hash, safe='')}")


def qpus() -> ApiRequest:
    """All QPUs -> QpuList."""
    return _get("/v1/qpus")


def qpu(name: str) -> ApiRequest:
    """One QPU with its device -> QpuDetail."""
    return _get(f"/v1/qpus/{quote(name, safe='')}")


def drain(name: str, reason: str) -> ApiRequest:
    """Let a QPU take nothing new -> QpuOut. Draining twice is draining once."""
    return _post(f"/v1/qpus/{quote(name, safe='')}/drain", DrainRequest(reason=reason))


def resume(name: str) -> ApiRequest:
    """Let a drained QPU take tasks again -> QpuOut."""
    return ApiRequest("POST", f"/v1/qpus/{quote(name, safe='')}/resume")


def calibrate(name: str) -> ApiRequest:
    """Ask for a calibration of a QPU -> QpuOut."""
    return ApiRequest("POST", f"/v1/qpus/{quote(name, safe='')}/calibrate", repeatable=False)


def shares() -> ApiRequest:
    """Accounts and classes against their shares, and the charging table -> SharesOut."""
    return _get("/v1/shares")


def windows() -> ApiRequest:
    """The windows that the site plans -> WindowList."""
    return _get("/v1/windows")


def announce_window(qpu: str, window: WindowRequest) -> ApiRequest:
    """Close a QPU, or keep it for some -> WindowList. Announcing twice is announcing once."""
    return _post(f"/v1/qpus/{quote(qpu, safe='')}/windows", window)


def withdraw_window(qpu: str, name: str) -> ApiRequest:
    """Take an announced window back -> WindowList."""
    path = f"/v1/qpus/{quote(qpu, safe='')}/windows/{quote(name, safe='')}"
    return ApiRequest("DELETE", path, repeatable=False)


def issue_token(wanted: TokenRequest) -> ApiRequest:
    """A new bearer token -> NewTokenOut. Asking twice makes two."""
    body = wanted.model_dump_json().encode()
    return ApiRequest("POST", "/v1/tokens", body, repeatable=False)


def tokens() -> ApiRequest:
    """Bearer tokens, without their secrets -> TokenList."""
    return _get("/v1/tokens")


def revoke_token(token_id: str) -> ApiRequest:
    """End a token -> TokenOut. Revoking twice is revoking once."""
    return ApiRequest("POST", f"/v1/tokens/{quote(token_id, safe='')}/revoke")


def audit(
    before: int | None, since: datetime | None, by: str | None, what: str | None, limit: int
) -> ApiRequest:
    """A page of the audit log, the newest first -> AuditList."""
    query = {"limit": str(int(limit))}
    if before is not None:
        query["before"] = str(before)
    if since is not None:
        query["since"] = since.isoformat()
    query |= {name: word for name, word in (("by", by), ("what", what)) if word is not None}
    return _get("/v1/audit", query)


def prunable(older_than_s: float) -> ApiRequest:
    """How much could be dropped -> PrunableOut."""
    return _get("/v1/retention", {"older_than_s": repr(float(older_than_s))})


def prunable_records(older_than_s: float) -> ApiRequest:
    """What would be dropped next, in full -> RecordsOut."""
    return _get("/v1/retention/records", {"older_than_s": repr(float(older_than_s))})


def prune(body: PruneRequest) -> ApiRequest:
    """Drop a part of what is old enough -> PrunedOut. Dropping twice is dropping once."""
    return _post("/v1/retention/prune", body)


def reload_policy() -> ApiRequest:
    """Read the site file's scheduling part again -> PolicyOut."""
    return ApiRequest("POST", "/v1/policy/reload")


def classes() -> ApiRequest:
    """All job classes -> JobClassList."""
    return _get("/v1/classes")


def open_session(body: SessionRequest) -> ApiRequest:
    """Open a session (with a key: may be repeated) -> SessionOut."""
    return _post("/v1/sessions", body, key=body.key, repeatable=body.key is not None)


def sessions() -> ApiRequest:
    """The caller's sessions -> SessionList."""
    return _get("/v1/sessions")


def session(session_id: str) -> ApiRequest:
    """One session -> SessionOut."""
    return _get(f"/v1/sessions/{quote(session_id, safe='')}")


def heartbeat(session_id: str) -> ApiRequest:
    """Renew a session -> HeartbeatOut."""
    return ApiRequest("POST", f"/v1/sessions/{quote(session_id, safe='')}/heartbeat")


def close_session(session_id: str, tasks: TaskFate | None = None) -> ApiRequest:
    """Close a session -> SessionOut. `tasks`: what becomes of them; None: not said."""
    path = f"/v1/sessions/{quote(session_id, safe='')}/close"
    return ApiRequest("POST", path) if tasks is None else _post(path, CloseRequest(tasks=tasks))


def cancel_session(session_id: str) -> ApiRequest:
    """Cancel a session's live tasks -> TaskList."""
    return ApiRequest("POST", f"/v1/sessions/{quote(session_id, safe='')}/cancel")


def keep_warm(session_id: str, body: KeepWarmRequest) -> ApiRequest:
    """Keep a QPU for a session -> SessionOut."""
    return _post(f"/v1/sessions/{quote(session_id, safe='')}/hold", body)


def give_back(session_id: str) -> ApiRequest:
    """Keep nothing for a session any more -> SessionOut."""
    return ApiRequest("DELETE", f"/v1/sessions/{quote(session_id, safe='')}/hold")


def events(after: int, session: str | None = None) -> ApiRequest:
    """The event stream, from the entry after number `after`."""
    query = {"after": str(after)}
    if session is not None:
        query["session"] = session
    return _get("/v1/events", query)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _with_program(task: TaskRequest, program: Program) -> TaskRequest:
    """The task with its program in it, instead of the program's hash."""
    wire = ProgramIn(kind=program.kind, content=program.content)
    return task.model_copy(update={"program": wire, "program_hash": None})


def _get(path: str, query: dict[str, str] | None = None) -> ApiRequest:
    # Commas stay as they are: ids are a third shorter, and logs stay readable.
    return ApiRequest("GET", f"{path}?{urlencode(query, safe=',')}" if query else path)


def _post(
    path: str, body: BaseModel, *, key: str | None = None, repeatable: bool = True
) -> ApiRequest:
    content = body.model_dump_json(exclude_defaults=True).encode()
    return ApiRequest("POST", path, body=content, key=key, repeatable=repeatable)


def _comma(ids: Iterable[int]) -> str:
    return ",".join(str(int(task_id)) for task_id in ids)
