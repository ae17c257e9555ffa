"""Text for databases that can't store the character NUL in it: written as two others."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

_MARK = "\ue000"
"""A character that Unicode leaves to private use, so that it stands in hardly any text."""


class EscapedText(TypeDecorator[str]):
    """A column of texts that are read back as they were, whatever they hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """As it is stored."""
        if value is None or ("\0" not in value and _MARK not in value):
            return value
        return value.replace(_MARK, _MARK + "1").replace("\0", _MARK + "0")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        """As it was."""
        if value is None or _MARK not in value:
            return value
        return str(value).replace(_MARK + "0", "\0").replace(_MARK + "1", _MARK)
