"""The nearest known name, for every message about an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, whatever its case, or None if none does."""
    names = {str(one).lower(): str(one) for one in known}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.55)
    return names[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"`, or nothing: to be put behind the unknown name."""
    found = nearest(name, known)
    return f" (did you mean {found!r}?)" if found else ""
