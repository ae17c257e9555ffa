r"""Text that isn't text: an escape such as ``"\ud800"`` is half a character on its own.

JSON's grammar allows it, and Python reads it, but nothing can store it, hash it or send
it on. It is refused where requests come in, so that nobody behind has to think of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from qpu_executor.errors import RequestRefused

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped half; two of them in the right order are a character."""


def refuse_half_characters(body: bytes) -> None:
    """Raises RequestRefused for a body with a text that isn't one. Costs a search, usually."""
    if _HALF.search(body) is None:
        return
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return  # whoever reads it says what is wrong with it
    for text in _texts(found):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestRefused(
                f"a text holds half a character ({text[error.start]!r}), which can't be stored",
                where="request",
                expected="Unicode text; characters beyond U+FFFF as a pair of escapes",
            ) from None


def _texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value, names of fields among them."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
