"""The device as the controller publishes it, read again as it grows old.

A specification changes while tasks wait (a recalibrated layout, a lower amplitude). The
newest one is what programs are checked against; one that can't be read leaves the one
before in force.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from qpu_executor.errors import DeviceError
from qpu_executor.qpus.pasqal_controller.connection import (
    Connection,
    NoAnswerError,
    NotAllowedError,
    NotSentError,
)
from qpu_executor.qpus.pasqal_controller.messages import NonsenseError, read_specs, shortened
from qpu_executor.qpus.pasqal_controller.preparing import Preparing

log = logging.getLogger(__name__)


class PublishedDevice:
    """`fields`: of `text`, parsed once (they are looked at between two chunks); not to be changed.

    `seconds`: a clock that counts seconds. `max_age_s`: how old `text` may get. `trouble`: why
    it is older, and what to do about that ("": it isn't).
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        preparing: Preparing,
        seconds: Callable[[], float],
        max_age_s: float,
    ) -> None:
        self.fields: dict[str, Any] = {}
        self.trouble = ""
        self._text = ""
        self._name = name
        self._connection = connection
        self._preparing = preparing
        self._seconds = seconds
        self._max_age_s = max_age_s
        self._read_at: float | None = None

    @property
    def text(self) -> str:
        """JSON of the newest specification that Pulser can read; "" before the first."""
        return self._text

    def recall(self, text: str) -> None:
        """What it was when a manager last saw it, until it is read."""
        self._text = text
        self.fields = json.loads(text) if text else {}

    async def keep_fresh(self) -> None:
        """Read it again if it is too old. Without an answer the last one stays in force."""
        if self._read_at is None or self._seconds() - self._read_at > self._max_age_s:
            try:
                await self.read()
            except DeviceError as error:
                if not self.text:
                    raise
                self._stays_in_force(error)

    async def read(self) -> bool:
        """Read it now; True if it has changed. Raises DeviceError."""
        try:
            answer = await self._connection.get("/system")
            if not answer.ok:
                raise NonsenseError(f"the controller doesn't give its specification ({answer})")
            text = read_specs(answer.body)
        except (NotSentError, NoAnswerError, NotAllowedError, NonsenseError) as error:
            raise self._wrong(str(error)) from None
        if text != self.text:
            reason = await self._preparing.readable(text)
            if reason is not None:
                raise self._wrong(
                    f"Pulser can't read the device that the controller publishes: {reason}",
                    f"mend it there, or install the Pulser that wrote it ({_written_with(text)})",
                )
        changed = text != self._text
        if changed:
            self.recall(text)
        self._read_at = self._seconds()
        self.trouble = ""
        return changed

    def _stays_in_force(self, error: DeviceError) -> None:
        """Say so where it is news: it is read again for every chunk until that works."""
        advice = f"; next: {error.next_step}" if error.next_step else ""
        trouble = f"the device's last specification stays in force: {error.message}{advice}"
        if trouble != self.trouble:
            log.warning("QPU %s: %s", self._name, trouble)
        self.trouble = trouble

    def _wrong(self, message: str, next_step: str | None = None) -> DeviceError:
        return DeviceError(message, where=f"QPU {self._name}", next_step=next_step)


def _written_with(device: str) -> str:
    version = json.loads(device).get("pulser_version")
    return shortened(version, 20) if isinstance(version, str) else "it doesn't say which"
