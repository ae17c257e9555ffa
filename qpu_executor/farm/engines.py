"""Where a farm's emulations run: Parsl or Dask, behind the interface of a worker pool.

Neither can end a call that runs: a stopped emulation keeps its worker until it ends, and
nobody takes its answer. Both use pickle between the farm and its own workers, never beyond.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import ConfigError, OperatorError, PluginRefused, QpuExecutorError
from qpu_executor.farm.carrying import carry
from qpu_executor.farm.config import DaskEngine, FarmConfig, ParslEngine
from qpu_executor.qpus.workers import WorkerDiedError, WorkerPool, Workers, WorkerTimeoutError

P = ParamSpec("P")
R = TypeVar("R")

# As a child that ends with the farm: Parsl's own would go on without it.
_INTERCHANGE = "qpu_executor.pipelines.engines.interchange"
_HTEX = "parsl.executors.high_throughput"


def make_engine(config: FarmConfig) -> Workers:
    """The engine that the farm's file asks for, not opened."""
    match config.engine:
        case ParslEngine() as found:
            return OnParsl(config.workers, found.config)
        case DaskEngine() as found:
            return OnDask(found.scheduler, found.scheduler_file)
        case _:
            return WorkerPool(config.workers)


def trouble_of(engine: Workers) -> str | None:
    """Why no emulation can be run on an engine at the moment; None if it can."""
    return engine.trouble() if isinstance(engine, _Engine) else None


class _Engine(ABC):
    """What Parsl and Dask share: waiting for a call, and naming what went wrong."""

    to_warm_up = 0

    async def run(
        self, function: Callable[P, R], timeout_s: float | None, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(*args)` in a worker; see `WorkerPool.run`. The time counts from here."""
        clock = asyncio.timeout(timeout_s)
        try:
            async with clock:
                with only_own_cancellation():
                    found: R = await self._call(function, *args)
                    return found
        except QpuExecutorError:
            raise
        except Exception as error:
            if clock.expired():
                raise WorkerTimeoutError(f"no answer within {timeout_s:g} s") from None
            # Of Parsl or Dask: the worker was lost, or never came.
            said = " ".join(str(error).split())[:500]
            raise WorkerDiedError(f"{type(error).__name__}: {said}") from None

    @abstractmethod
    def trouble(self) -> str | None:
        """Why no call can be made at the moment; None if one can."""

    @abstractmethod
    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """The answer of one call. Raises what the call raised, or whatever the engine does."""


class OnParsl(_Engine):
    """`workers`: of an executor on this host; `config`: a file with another configuration."""

    def __init__(self, workers: int, config: Path | None) -> None:
        self._workers = workers
        self._config = config
        self._kernel: Any = None

    async def open(self) -> None:
        """Start Parsl. Raises PluginRefused or ConfigError."""
        try:
            from parsl.dataflow.dflow import DataFlowKernel
        except ImportError:
            raise _missing("parsl") from None
        config = self._own_config() if self._config is None else _config_in(self._config)
        self._kernel = await asyncio.to_thread(DataFlowKernel, config)

    async def close(self) -> None:
        """End Parsl and its workers."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            await asyncio.to_thread(kernel.cleanup)

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._kernel is None:
            raise WorkerDiedError("Parsl is closed")
        submitted = self._kernel.submit(
            carry,
            app_args=(function, *args),
            executors="all",
            cache=False,
            ignore_for_cache=[],
            app_kwargs={},
            join=False,
        )
        return await _answer(submitted)

    def trouble(self) -> str | None:
        """What Parsl's executors say of themselves."""
        if self._kernel is None:
            return "Parsl is closed"
        for name, executor in self._kernel.executors.items():
            if getattr(executor, "bad_state_is_set", False):
                return f"Parsl's executor {name} failed: {executor.executor_exception}"
        return None

    def _own_config(self) -> Any:
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
        from parsl.providers import LocalProvider

        python = shlex.quote(sys.executable)
        workers = f"{python} -m {_HTEX}.process_worker_pool"
        provider: Any = LocalProvider
        executor = HighThroughputExecutor(
            label="emulators",
            address="127.0.0.1",
            max_workers_per_node=self._workers,
            cores_per_worker=1e-6,
            provider=provider(init_blocks=1, max_blocks=1),
            encrypted=False,
            launch_cmd=DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", workers),
            interchange_launch_cmd=[sys.executable, "-m", _INTERCHANGE],
            heartbeat_period=10,
            heartbeat_threshold=60,
        )
        return Config(
            executors=[executor],
            run_dir="runs/farm",
            initialize_logging=False,
            retries=0,
            exit_mode="skip",
            usage_tracking=0,
        )


class OnDask(_Engine):
    """`scheduler`: address of a Dask scheduler; or `scheduler_file`."""

    def __init__(self, scheduler: str | None, scheduler_file: Path | None) -> None:
        self._scheduler = scheduler
        self._scheduler_file = scheduler_file
        self._client: Any = None

    async def open(self) -> None:
        """Connect. Raises PluginRefused or OperatorError."""
        try:
            from distributed import Client
        except ImportError:
            raise _missing("dask") from None
        client_of: Any = Client
        file = None if self._scheduler_file is None else str(self._scheduler_file)
        if file is not None and not await asyncio.to_thread(os.path.exists, file):
            raise ConfigError(
                f"{file}: there is no such scheduler file", where="engine.scheduler_file"
            )
        try:
            self._client = await client_of(
                self._scheduler, scheduler_file=file, asynchronous=True, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise OperatorError(
                f"no Dask scheduler answers at {self._scheduler or file}: {error}",
                where="engine",
                next_step="start one: dask scheduler",
            ) from None

    async def close(self) -> None:
        """Disconnect. The cluster isn't ours to end."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def trouble(self) -> str | None:
        """Whether the scheduler is there."""
        status = "closed" if self._client is None else self._client.status
        return None if status == "running" else f"the connection to Dask is {status}"

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._client is None:
            raise WorkerDiedError("the connection to Dask is closed")
        future = self._client.submit(carry, function, *args, pure=False)
        try:
            return await future.result()
        except asyncio.CancelledError:
            await asyncio.shield(self._client.cancel([future]))
            raise


async def _answer(submitted: Future[Any]) -> Any:
    """Its result. Leaving doesn't cancel it: Parsl's futures can't be."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    def tell() -> None:
        if not arrived.done():
            arrived.set_result(None)

    submitted.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))
    await arrived
    return submitted.result()


def _config_in(path: Path) -> Any:
    """The Parsl configuration in a Python file of the farm's owner."""
    from parsl.config import Config

    try:
        found = runpy.run_path(str(path)).get("config")
    except Exception as error:
        raise ConfigError(
            f"{path}: can't be run: {type(error).__name__}: {error}", where="engine.config"
        ) from None
    if not isinstance(found, Config):
        raise ConfigError(
            f"{path}: there is no Parsl configuration named 'config' in it",
            where="engine.config",
            expected="config = parsl.config.Config(executors=[...])",
        )
    return found


def _missing(extra: str) -> PluginRefused:
    return PluginRefused(
        f"the farm's engine {extra} isn't installed",
        where="engine.kind",
        next_step=f"pip install 'qpu-executor[{extra}]'",
    )
