"""Every error that this project raises on purpose, split by who must act.

    QpuExecutorError
    ├── CallerError            the request is wrong: repeating it can't succeed
    │   ├── ConfigError            a file, option or environment variable
    │   ├── ProgramError           the program itself
    │   │   ├── BuilderError           the user's function raised, or returned no program
    │   │   └── ProgramRefused         a device rule is violated
    │   │       └── DeviceMismatch         built for a device that the QPU isn't (any more)
    │   ├── StepFailed             a function of a pipeline step raised
    │   ├── RequestRefused         class limits, unknown class or QPU, quotas
    │   ├── KeyConflict            an idempotency key names another request
    │   ├── UnknownTask            no such task (or not the caller's)
    │   ├── TaskExpired            what the task left behind is kept no longer
    │   ├── NotAuthenticated       nobody knows who is asking
    │   ├── NotAllowed             the caller may not do this
    │   ├── IllegalMove            the task's state doesn't allow this
    │   └── TaskCancelled          the task was cancelled
    ├── OperatorError          the site is set up wrongly
    │   ├── PluginRefused          an extension is broken or unknown
    │   └── StoreError             the database is damaged, foreign, newer or in use
    ├── DeviceError            the QPU failed
    │   └── TaskFailed             the task ended as FAILED (`permanent` says whose fault)
    ├── ManagerUnreachable     nobody answers at the manager's address
    ├── ManagerBusy            the manager asks to come back later
    ├── WaitTimeout            the wait ended, the task goes on
    └── InternalError          a mistake of ours

An error says what was wrong (`message`), where (`where`: file, key path, task,
QPU), what was expected (`expected`) and what to do next (`next_step`). All of
them survive pickling, and travel over HTTP by their `code`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class QpuExecutorError(Exception):
    """Base of the tree. `permanent`: the same request can never succeed."""

    code: ClassVar[str] = "error"
    permanent: bool = False

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        parts = [self.message if self.where is None else f"{self.where}: {self.message}"]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "; ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: type[QpuExecutorError], message: str, state: dict[str, Any]) -> QpuExecutorError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class CallerError(QpuExecutorError):
    """The request is wrong; whoever made it has to change it."""

    code = "caller-error"
    permanent = True


class ConfigError(CallerError):
    """A file, an option or an environment variable is wrong."""

    code = "config-error"


class ProgramError(CallerError):
    """The program can't be run as it is."""

    code = "program-error"


class BuilderError(ProgramError):
    """The user's function raised, or returned something that is no program.

    `traceback_text` is the user's traceback, as text (so that it pickles).
    """

    code = "builder-error"

    def __init__(self, message: str, *, traceback_text: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        text = super().__str__()
        return text if not self.traceback_text else f"{text}\n{self.traceback_text.rstrip()}"


class ProgramRefused(ProgramError):
    """A rule of the device is violated. `rule` names it."""

    code = "program-refused"

    def __init__(self, message: str, *, rule: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.rule = rule


class DeviceMismatch(ProgramRefused, ValueError):
    """The sequence was built for a device that no QPU is, or that has changed since.

    A ValueError as well, which is what Pulser raises then.
    """

    code = "device-mismatch"


class StepFailed(CallerError):
    """A function of a pipeline step raised, or gave a result that can't be carried.

    `traceback_text` is the user's traceback, as text (so that it pickles).
    """

    code = "step-failed"
    permanent = False

    def __init__(self, message: str, *, traceback_text: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.traceback_text = traceback_text


class RequestRefused(CallerError):
    """The site doesn't take this request: limits, unknown names, quotas."""

    code = "request-refused"


class KeyConflict(CallerError):
    """This idempotency key already names another request of the same caller."""

    code = "key-conflict"


class UnknownTask(CallerError):
    """There is no such task, or it isn't the caller's."""

    code = "unknown-task"


class TaskExpired(CallerError):
    """The task has ended so long ago that its program and result are kept no longer."""

    code = "task-expired"


class NotAuthenticated(CallerError):
    """Nobody knows who is asking, or the proof of it is wrong."""

    code = "not-authenticated"


class NotAllowed(CallerError):
    """The caller is known, and may not do this."""

    code = "not-allowed"


class IllegalMove(CallerError):
    """The state of the task doesn't allow what was asked."""

    code = "illegal-move"


class TaskCancelled(CallerError):
    """The task was cancelled, so it has no result."""

    code = "task-cancelled"


class OperatorError(QpuExecutorError):
    """The site is set up wrongly; an operator has to act."""

    code = "operator-error"
    permanent = True


class PluginRefused(OperatorError):
    """An extension is unknown, can't be loaded, or doesn't fit its interface."""

    code = "plugin-refused"


class StoreError(OperatorError):
    """The store is damaged, belongs to another product or a newer version, or is in use."""

    code = "store-error"


class DeviceError(QpuExecutorError):
    """The QPU failed; trying again may help."""

    code = "device-error"


class TaskFailed(DeviceError):
    """The task ended as FAILED. `permanent` is true where trying again can't help."""

    code = "task-failed"

    def __init__(self, message: str, *, permanent: bool = False, **context: Any) -> None:
        super().__init__(message, **context)
        self.permanent = permanent


class ManagerUnreachable(QpuExecutorError):
    """Nobody answers at the manager's address, or the connection ended."""

    code = "manager-unreachable"


class ManagerBusy(QpuExecutorError):
    """The manager can't take this now. `retry_after_s` says when to come back.

    `own_limit`: it is the caller who has too much under way.
    """

    code = "manager-busy"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        own_limit: bool = False,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.retry_after_s = retry_after_s
        self.own_limit = own_limit


class WaitTimeout(QpuExecutorError, TimeoutError):
    """The wait ended before the task did. The task goes on."""

    code = "wait-timeout"


class InternalError(QpuExecutorError):
    """A mistake of ours. The task's story is in the message."""

    code = "internal-error"


def without_context(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator for boundaries: our errors leave without the foreign ones behind them.

    Those may not pickle, and Dask's tblib pickles an error's context too.
    """

    @functools.wraps(function)
    def boundary(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except QpuExecutorError as error:
            error.__context__ = error.__cause__ = None
            raise

    return boundary


def error_types() -> dict[str, type[QpuExecutorError]]:
    """Every class of the tree by its `code` (what a problem document carries)."""
    found: dict[str, type[QpuExecutorError]] = {}
    todo: list[type[QpuExecutorError]] = [QpuExecutorError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found
