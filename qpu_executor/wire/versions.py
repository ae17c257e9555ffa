"""Which versions of the API this version of the product speaks, as client and as manager.

Within an API version changes only add: answers gain fields, which older readers skip, and
requests gain options, which older managers refuse by name. So every client of an API version
works with every manager of it. `docs/versions.md` says what is promised.
"""

from __future__ import annotations

from collections.abc import Collection

OLDEST_API = 1
NEWEST_API = 1
SPOKEN = tuple(range(OLDEST_API, NEWEST_API + 1))
"""What a manager announces (`/v1/health`, which stays where it is), and what a client can."""


def newest_common(mine: Collection[int], theirs: Collection[int]) -> int | None:
    """The newest version that both speak; None: they can't talk."""
    return max(set(mine) & set(theirs), default=None)


def in_words(versions: Collection[int]) -> str:
    """`1`, `1 to 3`, `1, 3`, or `none`."""
    known = sorted(set(versions))
    if len(known) > 2 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known)) or "none"
