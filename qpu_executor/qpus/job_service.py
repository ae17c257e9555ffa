"""What an adapter needs from a service that runs jobs: a cloud, a resource behind an SDK.

A `JobService` is a thin shell over one SDK. Its calls block, and are made in threads
(`blocking_calls.py`); it keeps no state about chunks, and translates every error of
its SDK into one of those below. What follows from them is `job_service_qpu.py`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from qpu_executor.errors import ProgramRefused
from qpu_executor.model.states import QpuState
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOrder, DeviceDescription


class JobServiceError(Exception):
    """Base of what a service's call may raise; the text is for people."""


class NotSentError(JobServiceError):
    """The job certainly doesn't exist: nobody was reached, or it was turned away unread."""


class CredentialsError(NotSentError):
    """Who we are isn't accepted: a token that expired, a wrong password, no credits."""


class ComeBackLaterError(NotSentError):
    """The service has more to do than it takes. `after_s`: seconds that it asks for."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = 10.0 if after_s is None else after_s


class JobRefusedError(NotSentError):
    """The service read the job and will never run it: its owner must act."""


class NoSuchJobError(JobServiceError):
    """The service says that it doesn't know a job."""


class UnclearError(JobServiceError):
    """Nobody knows whether the call had its effect: no answer, or one that says nothing."""


class JobState(enum.Enum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    """It took its shots."""
    CANCELLED = "cancelled"
    """It ended early, because of us or somebody else."""
    FAILED = "failed"
    """The service gave up on it."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """`device_s`, `setup_s`: seconds of shots and before them, where the service says so.

    `message`: why it failed.
    """

    state: JobState
    device_s: float | None = None
    setup_s: float | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        """It won't change any more."""
        return self.state in (JobState.DONE, JobState.CANCELLED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job that a search by name found. `order_mark`: as it was sent (None: not known)."""

    handle: str
    order_mark: str | None


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What the service says of its QPU."""

    state: QpuState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobName:
    """How a chunk's job is told from all others. `order_mark`: what was ordered, in short."""

    tag: str
    order_mark: str


class JobService(Protocol):
    """See the module. Every method but `refuse` may block for as long as it likes.

    Any of them may raise CredentialsError, NotSentError, or UnclearError.
    """

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of programs that it runs; known once opened."""

    @property
    def emulated(self) -> bool:
        """No real atoms."""

    @property
    def limits(self) -> Mapping[str, str]:
        """For each capability that it lacks, the vendor's limit behind it."""

    @property
    def searchable(self) -> bool:
        """Whether jobs carry their name and can be found by it."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the SDK, for results; known once opened."""

    def open(self) -> None:
        """Load the SDK. Raises ConfigError or OperatorError as well."""

    def close(self) -> None:
        """Let go of connections. May be called twice."""

    def device(self) -> DeviceDescription:
        """The device that programs have to be built for."""

    def health(self) -> ServiceHealth:
        """Whether jobs can be sent."""

    def refuse(self, program: Program, shots: int) -> None:
        """Raise ProgramRefused for what this service can't run. Never blocks."""

    def find(self, name: JobName) -> FoundJob | None:
        """The oldest job of this name; asked only where `searchable`."""

    def send(self, order: ChunkOrder, name: JobName) -> str:
        """Make one job, with one request, and return its handle. Raises JobRefusedError too."""

    def progress(self, handle: str) -> JobProgress:
        """Where it is. Raises NoSuchJobError too."""

    def counts(self, handle: str) -> Mapping[str, int]:
        """Bitstrings of a job that is done. Raises NoSuchJobError or ProgramRefused too."""

    def cancel(self, handle: str) -> None:
        """Ask for an early end. Raises NoSuchJobError too."""


def not_this_kind(where: str, kind: str, kinds: frozenset[str]) -> ProgramRefused:
    """The refusal of a program of another kind."""
    return ProgramRefused(
        f"{where} doesn't run programs of kind {kind!r}",
        rule="kind",
        expected=f"one of {', '.join(sorted(kinds)) or 'none'}",
    )
