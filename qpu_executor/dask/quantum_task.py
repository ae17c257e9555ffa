"""quantum_task: from a function that builds a program to a callable that Dask runs on a QPU."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack, overload
from uuid import uuid4

from dask.base import normalize_token
from dask.utils import funcname
from distributed import get_worker

from qpu_executor.client.wishes import TaskWishes
from qpu_executor.dask.options import QuantumOptions
from qpu_executor.dask.registration import (
    check_current_client,
    not_registered,
    refuse_unregistered_scheduler,
)
from qpu_executor.dask.worker_plugin import WORKER_PLUGIN, QPUWorkerPlugin
from qpu_executor.errors import QpuExecutorError, RequestRefused
from qpu_executor.programs.pulser_pickling import install_if_imported

if TYPE_CHECKING:
    from qpu_executor.client import Result


class QuantumTask:
    """A builder with its options. Dask awaits it on the worker's event loop.

    Dask names a task by its function and arguments, and merges equal names: this
    callable has a new token every time it is asked, unless `cache` is set.
    """

    # How distributed recognises a callable object as a coroutine function.
    __tornado_coroutine__ = True

    def __init__(self, builder: Callable[..., Any], options: QuantumOptions) -> None:
        self.builder = builder
        self.options = options
        self.__wrapped__ = builder
        self.__name__ = funcname(builder)
        self.__qualname__ = getattr(builder, "__qualname__", self.__name__)
        self.__module__ = getattr(builder, "__module__", __name__)
        self.__doc__ = builder.__doc__

    async def __call__(self, *args: Any, **kwargs: Any) -> Result | list[Result]:
        """Runs inside a Dask task. Raises RequestRefused elsewhere."""
        try:
            worker = get_worker()
        except ValueError:
            raise RequestRefused(
                "a quantum task runs on a Dask worker only",
                where=self.__name__,
                next_step=f"client.submit({self.__name__}, ..., resources={{'QPU': 1}})",
            ) from None
        plugin = worker.plugins.get(WORKER_PLUGIN)
        if not isinstance(plugin, QPUWorkerPlugin):
            raise not_registered(worker.address)
        try:
            return await plugin.run(self, args, kwargs)
        except QpuExecutorError as error:
            # The error says all; our own frames below this one would say nothing to a user.
            raise error.with_traceback(None) from None

    def __dask_tokenize__(self) -> Any:
        if not self.options.cache:
            return uuid4().hex
        return normalize_token((type(self).__qualname__, self.builder, self.options))

    def __repr__(self) -> str:
        return f"<quantum task {self.__name__}, {self.options.shots} shots>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.__module__ != "__main__" and _find(self.__module__, self.__qualname__) is self:
            return _by_name, (self.__module__, self.__qualname__)
        return _rebuilt, (self.builder, self.options)


@overload
def quantum_task(
    fn: Callable[..., Any],
    *,
    shots: int,
    job_class: str | None = None,
    qpu: str | None = None,
    priority: int = 0,
    seed: int | None = None,
    name: str = "",
    key: str | None = None,
    cache: bool = False,
    account: str | None = None,
    **wishes: Unpack[TaskWishes],
) -> QuantumTask: ...


@overload
def quantum_task(
    *,
    shots: int,
    job_class: str | None = None,
    qpu: str | None = None,
    priority: int = 0,
    seed: int | None = None,
    name: str = "",
    key: str | None = None,
    cache: bool = False,
    account: str | None = None,
    **wishes: Unpack[TaskWishes],
) -> Callable[[Callable[..., Any]], QuantumTask]: ...


def quantum_task(
    fn: Callable[..., Any] | None = None, *, shots: int, **options: Any
) -> QuantumTask | Callable[[Callable[..., Any]], QuantumTask]:
    """A callable for `client.submit`, `client.map` and `dask.delayed` that runs on a QPU.

    `fn(*args)` runs on a worker and returns a `pulser.Sequence` (or another
    program), or a list of them; the task's result is a `Result`, or a list.
    Without `fn`: a decorator. A quantum task as `fn` gets other options.

    `shots`: repetitions of each program. `job_class`, `qpu`, `priority` (within
    the class, higher is sooner), `seed`: as in `qpu_executor.client`. `name`:
    shown in the queue (the function's name if empty). `key`: an idempotency key
    of your own: the same key names the same task at the manager, for ever.
    `cache`: equal submissions are one task, as for any Dask function (then
    `shots`, `job_class`, `qpu`, `seed` and the rest are part of its name). `account`, and
    those of `client.wishes.TaskWishes` (`device`, `require`, `time_limit_s`, ...): as in a
    TaskOrder.

    Raises RequestRefused at once for values that can't work, and if the current
    Dask client's cluster has no QPUPlugin, no such QPU or no such job class.
    """
    wanted = QuantumOptions(shots=shots, **options)

    def wrap(builder: Callable[..., Any]) -> QuantumTask:
        if isinstance(builder, QuantumTask):
            builder = builder.builder
        function: object = builder  # nothing but the annotation says that it can be called
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise RequestRefused(
                f"{builder!r} can't be a quantum task",
                expected="a function (not async) that returns a program",
            )
        where = f"quantum_task({funcname(builder)})"
        wanted.check()
        install_if_imported()  # arguments may be Pulser's objects
        check_current_client(wanted, where)
        return QuantumTask(builder, wanted)

    return wrap if fn is None else wrap(fn)


def _rebuilt(builder: Callable[..., Any], options: QuantumOptions) -> QuantumTask:
    refuse_unregistered_scheduler()
    return QuantumTask(builder, options)


def _by_name(module: str, qualname: str) -> Any:
    refuse_unregistered_scheduler()
    importlib.import_module(module)
    return _find(module, qualname)


def _find(module: str, qualname: str) -> Any:
    """What a module has under a name, None if nothing. Loads no module."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
