"""Routes about tasks and programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from qpu_executor.errors import (
    IllegalMove,
    QpuExecutorError,
    RequestRefused,
    TaskCancelled,
    TaskFailed,
    UnknownTask,
)
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.in_pieces import in_pieces, list_answer
from qpu_executor.manager.api.openapi import may_answer
from qpu_executor.manager.api.parameters import (
    AfterTask,
    Key,
    Limit,
    OfSession,
    Partial,
    ProgramHash,
    TaskNumber,
)
from qpu_executor.manager.api.problems import answer, problem_of
from qpu_executor.manager.api.views import chunk_out, history_out, optional_instant, result_out
from qpu_executor.manager.auth.caller import Role
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.orders import Answer, NewTask
from qpu_executor.manager.store.records import TaskFilter, TaskRow
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.needs import QpuNeeds
from qpu_executor.model.states import TaskState
from qpu_executor.model.stopping import read_stop_rule
from qpu_executor.model.timing import Dependency
from qpu_executor.programs.program import Program
from qpu_executor.wire.tasks import (
    NeedsIn,
    ProgramIn,
    ResultList,
    ResultOut,
    SubmitAnswer,
    SubmitItem,
    SubmitRequest,
    TaskDetail,
    TaskIds,
    TaskList,
    TaskRequest,
    WishesOut,
)

router = APIRouter(prefix="/v1", tags=["tasks"])


@router.post("/tasks", response_model=SubmitAnswer, responses=may_answer(404, 409, 422))
async def submit(
    asked: Asked,
    body: SubmitRequest,
    idempotency_key: Key = None,
) -> Response:
    """Submit one or many tasks. Each is accepted (durably) or refused on its own.

    With an `Idempotency-Key` the same request can be sent again: it names the
    tasks that were accepted then. A refused single task answers with its problem.
    """
    shared = {hash_: Program(one.kind, one.content) for hash_, one in body.programs.items()}
    for hash_, program in shared.items():
        if program.hash != hash_:
            raise RequestRefused("the program isn't what its hash says", where=f"programs.{hash_}")
    keys = _keys(body, idempotency_key)
    orders: list[NewTask | QpuExecutorError] = []
    async for piece in in_pieces(list(zip(body.tasks, keys, strict=True))):
        orders += [order_of(task, key, shared) for task, key in piece]
    refused = {i: one for i, one in enumerate(orders) if isinstance(one, QpuExecutorError)}
    wanted = [one for one in orders if isinstance(one, NewTask)]
    found = iter(await asked.manager.submit(wanted, asked.caller) if wanted else [])
    answers = [refused[i] if i in refused else next(found) for i in range(len(orders))]
    if len(answers) == 1 and isinstance(answers[0], QpuExecutorError):
        return answer(answers[0], keys[0])
    return await list_answer(
        "items",
        list(zip(answers, keys, strict=True)),
        lambda one: _item(asked, *one),
        cursor=asked.manager.broadcast.newest,
    )


@router.get("/tasks", response_model=TaskList)
async def tasks(
    asked: Asked,
    ids: Annotated[str | None, Query(description="comma-separated ids")] = None,
    state: Annotated[str | None, Query(description="comma-separated states")] = None,
    session: OfSession = None,
    after_id: AfterTask = 0,
    limit: Limit = 1000,
) -> Response:
    """The caller's tasks, oldest first."""
    cursor = asked.manager.broadcast.newest
    asked.manager.sessions.heard(session, asked.caller)
    which = TaskFilter(
        ids=_ids(ids) if ids is not None else None,
        owner=asked.caller.name,
        session_id=session,
        states=_states(state) if state is not None else None,
        after_id=after_id,
        limit=limit + 1,
        expired=ids is not None,
    )
    rows = await asked.manager.store.tasks(which)
    more = len(rows) > limit
    return await list_answer(
        "tasks",
        rows[:limit],
        lambda row: asked.task_out(asked.manager.live.get(row.id, row)),
        cursor=cursor,
        more=more,
    )


@router.post("/tasks/cancel", responses=may_answer(404))
async def cancel(asked: Asked, body: TaskIds) -> TaskList:
    """Cancel tasks, operators anybody's. One that has ended stays as it is: see its state."""
    return await _ask(asked, "cancel", body.ids)


@router.post("/tasks/hold", responses=may_answer(404))
async def hold(asked: Asked, body: TaskIds) -> TaskList:
    """Keep tasks back, operators anybody's. A running chunk is finished first."""
    return await _ask(asked, "hold", body.ids)


@router.post("/tasks/release", responses=may_answer(404))
async def release(asked: Asked, body: TaskIds) -> TaskList:
    """Let held tasks go on, operators anybody's."""
    return await _ask(asked, "release", body.ids)


@router.get("/tasks/{task_id}", responses=may_answer(404, 410))
async def task(asked: Asked, task_id: TaskNumber) -> TaskDetail:
    """One task with its chunks and the times of its states. Operators see anybody's."""
    row = await asked.manager.shown(task_id, asked.caller)
    store = asked.manager.store
    chunks = (await store.chunks([task_id])).get(task_id, [])
    history = (await store.history([task_id])).get(task_id, [])
    return TaskDetail(
        **asked.task_out(row).model_dump(),
        chunks=[chunk_out(chunk) for chunk in chunks],
        history=history_out(history),
    )


@router.get("/tasks/{task_id}/result", responses=may_answer(404, 409))
async def result(asked: Asked, task_id: TaskNumber, partial: Partial = False) -> ResultOut:
    """The result of a completed task; with `partial`, the shots counted so far."""
    row = await asked.manager.task(task_id, asked.caller)
    if row.state is not TaskState.COMPLETED and not partial:
        raise _no_result(row)
    found = await _results(asked, [row])
    if not found:
        await asked.manager.task(task_id, asked.caller)  # raises TaskExpired
    return found[0]


@router.get("/results", response_model=ResultList)
async def results(
    asked: Asked, ids: Annotated[str, Query(description="comma-separated ids")]
) -> Response:
    """Results of those of these tasks that are completed."""
    which = TaskFilter(
        ids=_ids(ids), owner=asked.caller.name, states=(TaskState.COMPLETED,), limit=10_000
    )
    rows = await asked.manager.store.tasks(which)
    found: list[ResultOut] = []
    async for piece in in_pieces(rows):
        found += await _results(asked, list(piece))
    return await list_answer("results", found, lambda one: one)


@router.get("/programs/{program_hash}", responses=may_answer(404))
async def program(asked: Asked, program_hash: ProgramHash) -> ProgramIn:
    """A program that the caller has submitted."""
    store = asked.manager.store
    found = (await store.programs([program_hash])).get(program_hash)
    if found is None or asked.caller.name not in await store.program_owners(program_hash):
        raise UnknownTask(f"there is no program {program_hash!r} of {asked.caller.name}")
    return ProgramIn(kind=found.kind, content=found.content)


# -- below: no routes -----------------------------------------------------------


def _keys(body: SubmitRequest, header: str | None) -> list[str | None]:
    if header is None:
        return [task.key for task in body.tasks]
    many = len(body.tasks) > 1
    return [task.key or (f"{header}#{i}" if many else header) for i, task in enumerate(body.tasks)]


_WISHES = frozenset(WishesOut.model_fields)


def order_of(
    task: TaskRequest, key: str | None, shared: dict[str, Program]
) -> NewTask | QpuExecutorError:
    """What a request wants, or why nobody can want that. `shared`: programs by hash."""
    program = None
    if task.program is not None:
        program = Program(task.program.kind, task.program.content)
        if task.program_hash not in (None, program.hash):
            return RequestRefused("program and program_hash disagree", where="program_hash")
    elif task.program_hash is None:
        return RequestRefused("a task needs a program", where="program", next_step="see /docs")
    else:
        program = shared.get(task.program_hash)
    try:
        wishes = _wishes(task)
    except RequestRefused as refusal:
        return refusal
    return NewTask(
        program=program,
        program_hash=program.hash if program else str(task.program_hash),
        shots=task.shots,
        job_class=task.job_class,
        qpu=task.qpu,
        priority=task.priority,
        seed=task.seed,
        name=task.name,
        session_id=task.session,
        account=task.account,
        held=task.held,
        key=key,
        key_origin=task.key_origin,
        wishes=wishes,
    )


def _wishes(task: TaskRequest) -> Wishes:
    """Raises RequestRefused for a stopping rule that can't be."""
    if _WISHES.isdisjoint(task.model_fields_set):
        return NO_WISHES
    rule = task.stop_when
    return Wishes(
        begin_at=optional_instant(task.begin_at),
        time_limit_s=task.time_limit_s,
        depends_on=tuple(Dependency(one.task, one.kind) for one in task.depends_on),
        on_recalibration=task.on_recalibration,
        max_calibration_age_s=task.max_calibration_age_s,
        min_quality=task.min_quality,
        deadline_at=optional_instant(task.deadline_at),
        shot_s=task.shot_s,
        stop_when=None if rule is None else read_stop_rule(rule.model_dump(), task.shots),
        device=task.device,
        require=_needs(task.require),
        path_s=task.path_s,
    )


def _needs(asked: NeedsIn | None) -> QpuNeeds | None:
    """None where nothing in particular is asked for."""
    found = None if asked is None else QpuNeeds.of_values(asked.model_dump())
    return found if found != QpuNeeds() else None


def _item(asked: Context, one: Answer, key: str | None) -> SubmitItem:
    if isinstance(one, QpuExecutorError):
        return SubmitItem(problem=problem_of(one, key), created=False)
    row = asked.manager.live.get(one.task.id, one.task)
    return SubmitItem(task=asked.task_out(row), created=one.created)


async def _ask(asked: Context, action: str, ids: list[int]) -> TaskList:
    if asked.caller.has(Role.OPERATOR):
        rows = await Operations(asked.manager, asked.caller).ask(action, ids)
    else:
        rows = await asked.manager.ask(action, ids, asked.caller)
    return TaskList(
        tasks=[asked.task_out(row) for row in rows], cursor=asked.manager.broadcast.newest
    )


async def _results(asked: Context, rows: list[TaskRow]) -> list[ResultOut]:
    """Those that are kept: a task may expire between one read and the next."""
    store = asked.manager.store
    ids = [row.id for row in rows]
    chunks = await store.chunks(ids)
    histories = await store.history(ids)
    programs = await store.programs({row.program_hash for row in rows})
    kept = {row.id for row in await store.tasks(TaskFilter(ids=tuple(ids), limit=len(ids)))}
    return [
        result_out(
            asked.task_out(row),
            programs.get(row.program_hash),
            chunks.get(row.id, []),
            histories.get(row.id, []),
        )
        for row in rows
        if row.id in kept
    ]


def _no_result(row: TaskRow) -> QpuExecutorError:
    if row.state is TaskState.FAILED:
        return TaskFailed(
            row.error or "the task failed", permanent=row.permanent, where=f"task {row.id}"
        )
    if row.state is TaskState.CANCELLED:
        return TaskCancelled("the task was cancelled", where=f"task {row.id}")
    return IllegalMove(
        f"the task is {row.state} with {row.shots_done} of {row.shots} shots",
        where=f"task {row.id}",
        next_step="wait for it, or ask for `partial=true`",
    )


def _ids(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise RequestRefused(
            f"{text!r} is no list of task ids", where="ids", expected="for example ids=17,18"
        ) from None
    if len(found) > 10_000 or any(not 0 <= one < 2**31 for one in found):
        raise RequestRefused("too many ids, or ids that can't be", where="ids")
    return found


def _states(text: str) -> tuple[TaskState, ...]:
    try:
        return tuple(TaskState(part.strip().upper()) for part in text.split(",") if part.strip())
    except ValueError:
        raise RequestRefused(
            f"{text!r} is no list of task states",
            where="state",
            expected=", ".join(TaskState),
        ) from None
