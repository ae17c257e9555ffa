"""What a site file may say about any QPU that is reached as a service that runs jobs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from qpu_executor.qpus.adapter_settings import AdapterSettings

Seconds = Annotated[float, Field(gt=0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class JobServiceSettings(AdapterSettings):
    """Durations in seconds of real time (the service knows no other).

    `slots`: jobs at once. `min_chunk_shots`, `max_chunk_shots`: of one job; the device's
    own limit holds besides. `shot_rate_hz`: expected. `setup_s`: expected before the first
    shot, the service's own queue included. `max_atoms`: limit of the account or of
    a remote emulator that the device doesn't tell. `threads`: SDK calls at once.
    `call_timeout_s`: what one SDK call may take. `answer_within_s`: a job that can't be
    looked at for so long is reported as unanswered. `poll_s`: least and most between two
    looks. `health_every_s`: between questions about the QPU. `retry_credentials_s`:
    pause after credentials weren't accepted. `settle_s`: how long a job may take to
    appear in the service's lists after it was sent, at most.
    """

    slots: Annotated[int, Field(ge=1, le=64)] = 1
    min_chunk_shots: Count = 1
    max_chunk_shots: Count | None = None
    shot_rate_hz: Annotated[float, Field(gt=0, le=1e6)] | None = None
    setup_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    max_atoms: Count | None = None
    threads: Annotated[int, Field(ge=2, le=64)] = 4
    call_timeout_s: Seconds = 60.0
    answer_within_s: Seconds = 120.0
    poll_s: tuple[Seconds, Seconds] = (0.5, 30.0)
    health_every_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    retry_credentials_s: Seconds = 60.0
    settle_s: Seconds = 120.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.poll_s[0] > self.poll_s[1]:
            raise ValueError("poll_s: the first of the two must be the smaller")
        if self.max_chunk_shots is not None and self.min_chunk_shots > self.max_chunk_shots:
            raise ValueError("min_chunk_shots must not be above max_chunk_shots")
        return self
