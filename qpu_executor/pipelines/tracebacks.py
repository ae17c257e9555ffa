"""The user's part of a traceback: from the first frame of the user's own code on."""

from __future__ import annotations

import traceback
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[1])


def user_traceback(error: BaseException) -> str:
    """The traceback as text, without the frames of this package and of the import system."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    seen: set[int] = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        kept = list(part.stack)
        while kept and _is_ours(kept[0].filename):
            kept.pop(0)
        part.stack = traceback.StackSummary.from_list(kept)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(told.format())


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib")) or filename.endswith(
        "importlib/__init__.py"
    )
