"""QPUExecutor: Parsl's door to the QPU resource manager."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from parsl.data_provider.staging import Staging
from parsl.executors.base import ParslExecutor
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio
from parsl.utils import RepresentationMixin

from qpu_executor.client import Client, SessionTerms, connect
from qpu_executor.client.session_terms import within_allocation
from qpu_executor.errors import ConfigError
from qpu_executor.parsl.attempt import Attempt
from qpu_executor.parsl.engine import Engine, not_running
from qpu_executor.parsl.memo import register_memo_types
from qpu_executor.parsl.options import CallSpec, check_names, merged
from qpu_executor.parsl.reporting import take_reporter
from qpu_executor.parsl.unreadable import guard_results
from qpu_executor.programs.pulser_pickling import install_if_imported

logger = logging.getLogger(__name__)


class QPUExecutor(ParslExecutor, RepresentationMixin):
    """Runs quantum apps on the QPUs of a manager; as many at once as you like.

    `manager`: its URL; None for `$QPU_MANAGER`, or else an embedded manager,
    which lives in the run's directory and ends with the executor. `session`: of
    the tasks; None for a new one, which ends with the executor. `terms`: what the new
    one says and asks; within a Slurm allocation it ends when that does, unless the terms
    name another end. `job_class`, `qpu`, `device`, `require`: for apps that name none (one
    that names a QPU or a device has neither from here). `wait_s`: how long an unreachable
    manager is waited for. `builder_threads`: threads in which apps build their programs.
    `storage_access`, `working_dir`: Parsl's file staging.

    Starting raises ConfigError or ManagerUnreachable. Shutting down cancels the
    tasks that haven't ended.
    """

    def __init__(
        self,
        label: str = "qpu",
        manager: str | None = None,
        session: str | None = None,
        job_class: str | None = None,
        qpu: str | None = None,
        wait_s: float = 300.0,
        builder_threads: int = 1,
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
        terms: SessionTerms | None = None,
        device: str | None = None,
        require: Mapping[str, Any] | None = None,
    ) -> None:
        ParslExecutor.__init__(self)
        self.label = label
        self.manager = manager
        self.session = session
        self.job_class = job_class
        self.qpu = qpu
        self.wait_s = wait_s
        self.builder_threads = builder_threads
        self.storage_access = storage_access
        self.working_dir = working_dir
        self.terms = terms
        self.device = device
        self.require = require
        self.remote_monitoring_radio = MultiprocessingQueueRadio()
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._told: set[str] = set()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of tasks for which nothing nearer says otherwise."""
        names = ("job_class", "qpu", "device", "require")
        return merged({name: getattr(self, name) for name in names})

    def start(self) -> None:
        """Connect, and start the embedded manager where one is needed.

        Raises ConfigError for impossible settings, ManagerUnreachable if nobody answers.
        """
        if self.builder_threads < 1:
            raise ConfigError(
                f"builder_threads={self.builder_threads}",
                where=f"QPUExecutor(label={self.label!r})",
                expected="1 or more",
            )
        guard_results()
        register_memo_types()
        install_if_imported()
        client = self._connect()
        try:
            session = self.session
            if session is None:
                name = f"parsl {self.run_id}"
                key = f"parsl:{self.run_id}:{self.label}"
                terms = replace(within_allocation(self.terms), leased=True)
                session = client.open_session(name, key=key, terms=terms).id
            else:
                client.keep_session(session)
        except BaseException:
            client.close()
            raise
        self._engine = Engine(
            client,
            label=self.label,
            builder_threads=self.builder_threads,
            session=session,
            owns_session=self.session is None,
        )

    def submit(
        self,
        func: Callable[..., Any],
        resource_specification: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> Future[Any]:
        """Take a call from Parsl; in Parsl's only launch thread, so nothing is done here.

        Raises InvalidResourceSpecification, and ConfigError when it isn't running.
        """
        engine = self._engine
        if engine is None:
            raise not_running(self.label)
        check_names(resource_specification)
        if not isinstance(resource_specification, CallSpec):
            self._tell_classical(func)
            return engine.run_classical(partial(func, *args, **kwargs))
        call = resource_specification.call
        func, kwargs, report = take_reporter(self, func, kwargs)
        attempt = Attempt(call, call.key(self.run_id), engine.cancel, report)
        call.attempt = attempt
        if call.cancelled:  # looked at after `call.attempt` is set: one side always sees it
            attempt.fail_cancelled("cancelled before it was launched")
            return attempt.future
        options = merged(self.defaults, resource_specification)
        return engine.launch(attempt, options, partial(func, *args, **kwargs))

    def shutdown(self) -> None:
        """Cancel what still runs, end the threads and the connection. Twice is once."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            engine.close()
        finally:
            super().shutdown()

    def monitor_resources(self) -> bool:
        """False: a quantum task has no process here whose memory could be watched."""
        return False

    def _connect(self) -> Client:
        return connect(
            self.manager,
            session=self.session,
            wait_s=self.wait_s,
            directory=Path(self.run_dir) / self.label,
        )

    def _tell_classical(self, func: Callable[..., Any]) -> None:
        name = getattr(func, "__name__", repr(func))
        if name not in self._told:
            self._told.add(name)
            logger.warning(
                "app %r has nothing to do with the QPU, and runs in a thread of this process, "
                "because its executors are all of the configuration's, or include %r; "
                'name the one that should run it, for example @python_app(executors=["cpu"])',
                name,
                self.label,
            )
