"""Shots of atoms and shots of an emulator are never mixed in one task. Pure.

A task that may go to both (its class has an emulator as a fallback) stays, from its
first counted shots on, with the kind of QPU that gave them: counts of both added up
would be the measurement of nothing.
"""

from __future__ import annotations

from collections.abc import Callable


def of_one_kind(
    qpus: tuple[str, ...], emulated: bool, is_emulated: Callable[[str], bool | None]
) -> tuple[str, ...]:
    """Those of a task's QPUs on which it may go on; in their order.

    `emulated`: whether its shots so far came from emulators. `is_emulated`: the same of a
    QPU by name, None where nobody knows (a QPU that has left keeps its place).
    """
    if len(qpus) == 1:
        return qpus
    return tuple(name for name in qpus if is_emulated(name) in (emulated, None))
