"""Calls to a `JobService` from the loop: in threads, with deadlines, errors translated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from qpu_executor.errors import DeviceError, ProgramRefused, QpuExecutorError
from qpu_executor.qpus.blocking_calls import BlockingCalls, CallHungError
from qpu_executor.qpus.job_service import (
    ComeBackLaterError,
    CredentialsError,
    JobServiceError,
    UnclearError,
)
from qpu_executor.qpus.job_service_settings import JobServiceSettings

log = logging.getLogger(__name__)
R = TypeVar("R")


class JobCalls:
    """`where`: for messages. Made on the loop that it is used on.

    `opened`: set once the adapter is open. `barred`: until when (loop time) and why the
    service is left alone: it doesn't accept our credentials, or asks for patience.
    """

    def __init__(self, where: str, settings: JobServiceSettings) -> None:
        self._where = where
        self._settings = settings
        self._calls = BlockingCalls(where, settings.threads)
        self.opened = False
        self.barred: tuple[float, str] | None = None

    async def run(
        self,
        call: Callable[..., R],
        *arguments: Any,
        late: Callable[[R], None] | None = None,
        deadline_s: float | None = None,
    ) -> R:
        """What the call gives. Raises JobServiceError, or what `JobService` allows besides.

        A mistake in the configuration is one of the operator's before the adapter is open;
        later (a secret's file that is gone) it is as good as a wrong secret. `late`:
        takes what comes after the deadline (default: `call_timeout_s`).
        """
        deadline_s = self._settings.call_timeout_s if deadline_s is None else deadline_s
        try:
            return await self._calls.run(call, *arguments, deadline_s=deadline_s, late=late)
        except CredentialsError as error:
            self._bar(error, self._settings.retry_credentials_s)
            raise
        except ComeBackLaterError as error:
            self._bar(error, error.after_s)
            raise
        except (JobServiceError, ProgramRefused):
            raise
        except QpuExecutorError as error:
            if not self.opened:
                raise
            self._bar(error, self._settings.retry_credentials_s)
            raise CredentialsError(str(error)) from None
        except CallHungError as error:
            raise UnclearError(f"the SDK hangs: {error}") from None
        except Exception as error:  # what the service's shell didn't expect of its SDK
            log.exception("%s: its SDK raised what nobody expected", self._where)
            raise UnclearError(f"{type(error).__name__}: {error}") from None

    def _bar(self, error: Exception, for_s: float) -> None:
        self.barred = (asyncio.get_running_loop().time() + for_s, str(error))

    async def before_sending(self, call: Callable[..., R], *arguments: Any) -> R:
        """A call before anything was sent: whatever goes wrong is a DeviceError."""
        try:
            return await self.run(call, *arguments)
        except JobServiceError as error:
            raise DeviceError(str(error), where=self._where) from None
