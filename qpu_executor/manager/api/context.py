"""What every route needs: the manager, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

from fastapi import Depends, Request

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.api.gate import CALLER
from qpu_executor.manager.api.load import Load
from qpu_executor.manager.api.views import task_out
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.privacy import Sight, accounts_of
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.wire.tasks import TaskOut


@dataclass(frozen=True, slots=True)
class Context:
    """One request's view of the manager."""

    manager: Manager
    caller: Caller
    embedded: bool
    load: Load

    @property
    def sight(self) -> Sight:
        """What the caller may know of others."""
        manager, name = self.manager, self.caller.name
        return Sight(
            name,
            manager.policy.privacy,
            operator=self.caller.has(Role.OPERATOR),
            find_accounts=cache(lambda: accounts_of(name, manager.scheduler.shares())),
            session_owner=manager.sessions.owner_of,
        )

    def task_out(self, row: TaskRow) -> TaskOut:
        """A task with the reason why it waits."""
        manager = self.manager
        reason = None
        if not row.state.final and (found := manager.scheduler.reason(row.id)) is not None:
            reason = found.value
        qpu = manager.fleet.find(row.qpu) if row.qpu else None
        return task_out(row, qpu, reason, manager.judge.standing(row))


async def context_of(request: Request) -> Context:
    """The context of a request. Raises NotAuthenticated if nobody knows who is asking."""
    app, caller = request.app.state, request.scope[CALLER]
    if isinstance(caller, QpuExecutorError):
        raise caller
    return Context(app.manager, caller, app.embedded, app.load)


Asked = Annotated[Context, Depends(context_of)]
