"""Faults that a test asks for: which requests go wrong, how, and how often."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(slots=True)
class Fault:
    """`method`, `path` (a regular expression): the requests that it is for.

    `when`: "before" the request is carried out, or "after" (the effect is there, and its
    acknowledgement is lost). `do`: "status" (answer `status`), "html" (answer 200 with a
    page), "drop" (close the connection), "hang" (say nothing for `seconds`, then go on),
    "lie" (answer 200 with JSON that says nothing). `times`: how often.
    """

    method: str
    path: str
    do: Literal["status", "html", "drop", "hang", "lie"]
    when: Literal["before", "after"] = "before"
    status: int = 500
    seconds: float = 30.0
    times: int = 1


class Faults:
    """Those that are still to happen."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, given: dict[str, Any]) -> None:
        """From what a test sent."""
        with self._lock:
            self._faults.append(Fault(**given))

    def clear(self) -> None:
        """From now on all goes well."""
        with self._lock:
            self._faults.clear()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault of this request, if there is one; it has then happened once more."""
        with self._lock:
            for fault in self._faults:
                if fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    if fault.times < 1:
                        self._faults.remove(fault)
                    return fault
        return None
