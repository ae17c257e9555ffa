"""What the doctor prints: one line for each finding, and what to type below it. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from qpu_executor.cli.doctor.finding import Finding, Level

_ABOUT = 10
"""Columns of the subject."""


def line(found: Finding) -> str:
    """A finding as a person reads it."""
    head = f"{found.level:<8} {found.about:<{_ABOUT}} {found.message}"
    if found.level is Level.OK or not found.next_step:
        return head
    return f"{head}\n{'':8} {'':{_ABOUT}} type: {found.next_step}"


def summary(found: Sequence[Finding]) -> str:
    """The last line."""
    counts = Counter(one.level for one in found)
    if counts[Level.WRONG]:
        return f"{counts[Level.WRONG]} wrong, {counts[Level.WARNING]} to look at"
    if counts[Level.WARNING]:
        return f"nothing is wrong, {counts[Level.WARNING]} to look at"
    return "all is well"


def document(found: Sequence[Finding]) -> str:
    """All findings as one JSON document."""
    checks = [
        {
            "check": one.about,
            "level": one.level.value,
            "message": one.message,
            "next_step": one.next_step or None,
        }
        for one in found
    ]
    return json.dumps({"wrong": any(one.level is Level.WRONG for one in found), "checks": checks})
