"""The QPU session that a hybrid step's function gets: programs in, results out.

Each call has its own seed and key, derived from the step and the number of the call.
A step that is run again after a failure replays its finished calls from the manager,
without taking a shot twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from qpu_executor.client import TaskOrder, connect
from qpu_executor.client.wishes import TaskWishes, given_wishes, with_defaults
from qpu_executor.errors import RequestRefused
from qpu_executor.programs.pulser_sequence import to_program

if TYPE_CHECKING:
    from qpu_executor.client import Client, Result


class QpuSession:
    """What a hybrid function measures with. Open it with `with`.

    `shots`, `job_class`, `qpu`, `priority` and `wishes` (`client.wishes.TaskWishes`) are the
    step's; each call may say otherwise.
    """

    def __init__(
        self,
        *,
        manager: str,
        session: str | None,
        name: str,
        key: str,
        seed: Callable[[int], int],
        shots: int | None,
        job_class: str | None,
        qpu: str | None,
        priority: int,
        wishes: Mapping[str, Any] | None = None,
    ) -> None:
        self._manager = manager
        self._session = session
        self._name = name
        self._key = key
        self._seed = seed
        self._shots = shots
        self._job_class = job_class
        self._qpu = qpu
        self._priority = priority
        self._wishes = wishes or {}
        self._calls = 0
        self._client: Client | None = None

    def __enter__(self) -> QpuSession:
        self._client = connect(self._manager, session=self._session)
        self._client.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(kind, error, trace)

    @property
    def calls(self) -> int:
        """Programs submitted so far."""
        return self._calls

    def run(
        self,
        sequence: Any,
        shots: int | None = None,
        *,
        job_class: str | None = None,
        qpu: str | None = None,
        priority: int | None = None,
        name: str | None = None,
        **wishes: Unpack[TaskWishes],
    ) -> Result:
        """Measure one program (a Pulser sequence or a Program) and wait for its result.

        The options are those of a TaskOrder; a call that names a QPU or a device takes
        neither from the step.
        Raises TaskFailed, TaskCancelled, ProgramRefused or RequestRefused.
        """
        return self.run_many(
            [sequence],
            shots,
            job_class=job_class,
            qpu=qpu,
            priority=priority,
            name=name,
            **wishes,
        )[0]

    def run_many(
        self,
        sequences: Sequence[Any],
        shots: int | None = None,
        *,
        job_class: str | None = None,
        qpu: str | None = None,
        priority: int | None = None,
        name: str | None = None,
        **wishes: Unpack[TaskWishes],
    ) -> list[Result]:
        """Measure several programs, queued together; their results in the same order."""
        where = f"step {self._name}"
        if self._client is None:
            raise RequestRefused("the QPU session is closed", where=where)
        wanted = shots if shots is not None else self._shots
        if wanted is None:
            raise RequestRefused(
                "no number of shots",
                where=where,
                next_step="give 'shots' to the step, or shots=... to run()",
            )
        own = {"job_class": self._job_class, "qpu": self._qpu, **self._wishes}
        said = {"job_class": job_class or None, "qpu": qpu or None}
        options = with_defaults(own, {**said, **given_wishes(wishes, where)})
        orders = [
            TaskOrder(
                program=to_program(sequence),
                shots=wanted,
                priority=self._priority if priority is None else priority,
                seed=self._seed(self._calls + i),
                name=f"{self._name}#{self._calls + i}" + (f" {name}" if name else ""),
                key=f"{self._key}/{self._calls + i}",
                key_origin="engine",
                session=self._session,
                **options,
            )
            for i, sequence in enumerate(sequences)
        ]
        self._calls += len(orders)
        tasks = self._client.submit_many(orders)
        return [task.result() for task in tasks]
