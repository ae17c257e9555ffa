"""@quantum_app: a Parsl app whose function builds what a QPU runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack, overload

from parsl.app.python import PythonApp
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.dataflow.futures import AppFuture

from qpu_executor.client.wishes import TaskWishes
from qpu_executor.errors import ConfigError
from qpu_executor.parsl.attempt import QuantumCall
from qpu_executor.parsl.executor import QPUExecutor
from qpu_executor.parsl.memo import register_memo_types
from qpu_executor.parsl.options import SPEC_KEYWORD, CallSpec, check_names, merged


class QuantumApp(PythonApp):
    """A decorated builder. Calling it answers with Parsl's AppFuture of a Result.

    The future of a builder that returns a list of programs has a list of Results.
    """

    def __init__(
        self,
        builder: Callable[..., Any],
        options: dict[str, Any],
        *,
        executors: Sequence[str],
        cache: bool,
        ignore_for_cache: Sequence[str] | None,
        data_flow_kernel: DataFlowKernel | None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            _without_spec(builder),
            data_flow_kernel=data_flow_kernel,
            cache=cache,
            executors=list(executors),
            ignore_for_cache=ignore_for_cache,
        )
        self.options = options
        functools.update_wrapper(self, builder, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Call the app. Raises ConfigError if no QPUExecutor of that label is loaded."""
        given = merged(self.kwargs.get(SPEC_KEYWORD), kwargs.get(SPEC_KEYWORD))
        defaults = [executor.defaults for executor in self._qpu_executors()]
        register_memo_types()
        kwargs[SPEC_KEYWORD] = CallSpec(
            merged(self.options, given), QuantumCall(self.__name__), defaults
        )
        future: AppFuture = super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]
        return future

    def _qpu_executors(self) -> list[QPUExecutor]:
        kernel = self.data_flow_kernel or DataFlowKernelLoader.dfk()
        loaded = kernel.executors
        ours = {label: e for label, e in loaded.items() if isinstance(e, QPUExecutor)}
        known = sorted(ours)
        for label in self.executors:
            if label not in ours:
                what = "isn't loaded" if label not in loaded else "is no QPUExecutor"
                raise ConfigError(
                    f"executor {label!r} {what}",
                    where=f"quantum app {self.__name__!r}",
                    expected=f"one of {', '.join(map(repr, known))}" if ours else None,
                    next_step=f'write @quantum_app(executors=["{known[0]}"])'
                    if ours
                    else "add QPUExecutor() to the executors of the Parsl Config",
                )
        return [ours[label] for label in self.executors]


def _without_spec(builder: Callable[..., Any]) -> Callable[..., Any]:
    """A builder hears of the resource specification only if it has a parameter for it."""
    parameters = inspect.signature(builder).parameters.values()
    if any(p.name == SPEC_KEYWORD or p.kind is p.VAR_KEYWORD for p in parameters):
        return builder

    @functools.wraps(builder)  # Parsl's memo key and its logs go by the function's name
    def build(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop(SPEC_KEYWORD, None)
        return builder(*args, **kwargs)

    return build


@overload
def quantum_app(function: Callable[..., Any], /) -> QuantumApp: ...


@overload
def quantum_app(
    function: None = None,
    /,
    *,
    shots: int | None = None,
    job_class: str | None = None,
    qpu: str | None = None,
    priority: int | None = None,
    seed: int | None = None,
    name: str | None = None,
    key: str | None = None,
    key_origin: Literal["user", "engine"] | None = None,
    account: str | None = None,
    executors: Sequence[str] = ("qpu",),
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    **wishes: Unpack[TaskWishes],
) -> Callable[[Callable[..., Any]], QuantumApp]: ...


def quantum_app(
    function: Callable[..., Any] | None = None,
    /,
    *,
    executors: Sequence[str] = ("qpu",),
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    **options: Any,
) -> QuantumApp | Callable[[Callable[..., Any]], QuantumApp]:
    """Make a builder of quantum programs a Parsl app.

    The function returns a `pulser.Sequence` (or a list of them); the app's future
    has the Result (or the list of Results).

    `shots`, `job_class`, `qpu`, `priority` (higher is sooner), `seed`, `name`,
    `key` (with `key_origin`), `account`, and those of `client.wishes.TaskWishes`
    (`device`, `require`, `time_limit_s`, ...): of the task, as in a TaskOrder; a call
    overrides them with `parsl_resource_specification={...}`. `executors`: labels of
    QPUExecutors. `cache`: Parsl's memoisation; what decides the result is in the key.

    Raises ConfigError for unknown options or labels that are no list.
    """
    if isinstance(executors, str):
        raise ConfigError(
            f"executors={executors!r} is text", where="quantum_app", expected="a list of labels"
        )
    options = merged(options)
    check_names(options)

    def decorate(builder: Callable[..., Any]) -> QuantumApp:
        return QuantumApp(
            builder,
            options,
            executors=executors,
            cache=cache,
            ignore_for_cache=ignore_for_cache,
            data_flow_kernel=data_flow_kernel,
        )

    return decorate if function is None else decorate(function)
