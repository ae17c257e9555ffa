"""What a quantum task asks of the manager, apart from its program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from qpu_executor.client.order import TaskOrder, to_request
from qpu_executor.client.wishes import WISHES, given
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.stopping import StopRule
from qpu_executor.programs.program import Program

KEY_PREFIX = "dask:"
MAX_NAME = 200
"""What the manager takes as a name, in characters."""


@dataclass(frozen=True)
class QuantumOptions:
    """The options of `quantum_task`; see there."""

    shots: int
    job_class: str | None = None
    qpu: str | None = None
    priority: int = 0
    seed: int | None = None
    name: str = ""
    key: str | None = None
    cache: bool = False
    account: str | None = None
    stop_when: StopRule | Mapping[str, Any] | None = None
    path_s: float | None = None
    device: str | None = None
    require: Mapping[str, Any] | None = None
    begin_at: datetime | None = None
    deadline_at: datetime | None = None
    time_limit_s: float | None = None
    on_recalibration: OnRecalibration | Literal["continue", "restart", "fail"] | None = None
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    shot_s: float | None = None

    def check(self) -> None:
        """Raise RequestRefused for values that no manager takes (zero shots, say)."""
        to_request(self._order(Program("", ""), "", "0" * 32, ""), None)

    def orders(
        self, programs: Sequence[Program], *, name: str, token: str, many: bool
    ) -> list[TaskOrder]:
        """One order per program.

        `name`: if the options give none. `token`: names this submission. `many`:
        names and keys are numbered.
        """
        name = self.name or name
        return [
            self._order(program, f"{name}[{i}]" if many else name, token, f"#{i}" if many else "")
            for i, program in enumerate(programs)
        ]

    def _order(self, program: Program, name: str, token: str, suffix: str) -> TaskOrder:
        return TaskOrder(
            program=program,
            shots=self.shots,
            job_class=self.job_class,
            qpu=self.qpu,
            priority=self.priority,
            seed=self.seed,
            account=self.account,
            name=name[:MAX_NAME],
            key=(f"{KEY_PREFIX}{token}" if self.key is None else self.key) + suffix,
            key_origin="engine" if self.key is None else "user",
            **given({wish: getattr(self, wish) for wish in WISHES}),
        )


def token_in(key: str | None) -> str | None:
    """The token of a submission in a key that was made of it; None for any other key."""
    if key is None or not key.startswith(KEY_PREFIX):
        return None
    return key.removeprefix(KEY_PREFIX).partition("#")[0]
