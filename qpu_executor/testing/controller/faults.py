"""What goes wrong between the controller and its callers, and how often."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Route(enum.Enum):
    """The calls of the controller's API."""

    CREATE = "create"
    JOB = "job"
    CANCEL = "cancel"
    OPERATIONAL = "operational"
    SYSTEM = "system"


class Deed(enum.Enum):
    """What happens instead of the answer."""

    STATUS = "status"
    """An HTTP error."""
    DROP = "drop"
    """The connection ends without an answer."""
    HANG = "hang"
    """There is no answer, and the connection stays."""
    HTML = "html"
    """A page, as of some server on the way."""
    GARBAGE = "garbage"
    """JSON that means nothing."""
    CUT = "cut"
    """The right answer, of which the second half is missing."""
    SLOW = "slow"
    """The answer comes, `delay_s` later; so does what it is about."""


class Fault(BaseModel):
    """`on`: calls that it hits (empty: all). `handled`: what was asked is done all the same.

    `times`: how often it strikes (None: always); `probability`: of each time. `kills`: a
    process that gets SIGKILL then: before what was asked is done, or after it where that is
    `handled`.
    """

    model_config = ConfigDict(extra="forbid")

    do: Deed
    on: tuple[Route, ...] = ()
    handled: bool = False
    status: Annotated[int, Field(ge=300, le=599)] = 500
    delay_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    kills: Annotated[int, Field(gt=1)] | None = None


class Faults:
    """The faults that are switched on; the first one that fits a call strikes."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._left: list[int | None] = []
        # Which call fails is part of a test's scenario, and no secret.
        self._random = random.Random(seed)  # noqa: S311

    def switch(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """From now on these and no others. Raises pydantic's ValidationError."""
        self._faults = [Fault.model_validate(one) for one in faults]
        self._left = [one.times for one in self._faults]

    def strike(self, route: Route) -> Fault | None:
        """The fault that hits this call, if any."""
        for n, fault in enumerate(self._faults):
            left = self._left[n]
            if (fault.on and route not in fault.on) or left == 0:
                continue
            if self._random.random() >= fault.probability:
                continue
            self._left[n] = None if left is None else left - 1
            return fault
        return None
