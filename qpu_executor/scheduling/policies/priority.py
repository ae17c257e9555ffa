"""The class's priority, then the task's own, then age.

Nothing but age bounds how long a large task keeps small ones of its class waiting,
and users may raise the priority of their tasks as they like: for a site whose users
agree among themselves.
"""

from __future__ import annotations

from qpu_executor.scheduling.ordering import Priority

__all__ = ["Priority"]
