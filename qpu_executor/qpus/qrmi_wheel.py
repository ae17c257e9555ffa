"""Calls on QRMI's resource objects: each call has one of its own, and its errors translated.

The wheel (Rust and tokio inside) releases the GIL while it waits, sets no timeout, and
refuses two calls at once on one object ("Already borrowed"). An object whose call hangs
or fails isn't used again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from qpu_executor.errors import QpuExecutorError
from qpu_executor.qpus.job_service import (
    ComeBackLaterError,
    CredentialsError,
    JobRefusedError,
    JobServiceError,
    NoSuchJobError,
    NotSentError,
    UnclearError,
)

R = TypeVar("R")

_STATUS = re.compile(r"\b(?:Status:|response body:) (\d{3})\b")
"""How the wheel's clients write an HTTP status into their errors (0.26.4)."""
_UNREACHED = ("munge unavailable", "dns error")
_NO_CREDENTIALS = ("credentials are not configured", "Token request failed")


class MissingKeyError(CredentialsError):
    """The resource's environment lacks a key, or has a wrong one."""


class ResourceObjects:
    """`make`: a new object, with credentials as they are now; `qrmi`: the wheel's module."""

    def __init__(self, qrmi: Any, make: Callable[[], Any]) -> None:
        self._qrmi = qrmi
        self._make = make
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def ask(self, call: Callable[[Any], R]) -> R:
        """`call` with an object. Raises JobServiceError, or ConfigError (a secret's file)."""
        with self._lock:
            one = self._free.pop() if self._free else None
        try:
            one = self._make() if one is None else one
            found = call(one)
        except (JobServiceError, QpuExecutorError):
            raise
        except self._qrmi.QrmiError as error:
            raise self._translated(error) from None
        except Exception as error:  # whatever else the wheel may raise
            raise UnclearError(f"QRMI raised {type(error).__name__}: {error}") from None
        with self._lock:
            self._free.append(one)
        return found

    def renew(self) -> None:
        """Make new objects from now on."""
        with self._lock:
            self._free.clear()

    def _translated(self, error: Exception) -> JobServiceError:
        """QRMI's error as one of ours: by its class, else by the status in its text."""
        qrmi, text = self._qrmi, f"QRMI: {error}"[:500]
        if isinstance(error, qrmi.ConfigError | qrmi.EnvVarNotSetError):
            return MissingKeyError(text)
        if isinstance(error, qrmi.AuthenticationFailedError):
            return _not_accepted(text)
        if isinstance(error, qrmi.TaskNotFoundError):
            return NoSuchJobError(text)
        refusals = (
            qrmi.InvalidInputError,
            qrmi.UnsupportedPayloadError,
            qrmi.ResourceNotFoundError,
        )
        if isinstance(error, refusals):
            return JobRefusedError(text)
        if any(one in text for one in _NO_CREDENTIALS):
            return _not_accepted(text)
        if any(one in text for one in _UNREACHED):
            return NotSentError(text)
        found = _STATUS.search(text)
        return _of_status(int(found[1]) if found else None, text)


def _of_status(status: int | None, text: str) -> JobServiceError:
    match status:
        case 401 | 402 | 403:
            return _not_accepted(text)
        case 404:
            return NoSuchJobError(text)
        case 429:
            return ComeBackLaterError(text)
        case None | 408 | 425:
            return UnclearError(text)
    return JobRefusedError(text) if status < 500 else UnclearError(text)


def _not_accepted(text: str) -> CredentialsError:
    return CredentialsError(f"{text}; renew the credentials, or the session")
