"""Reads the counts that an operator wrote down."""

from __future__ import annotations

import json
from pathlib import Path

from qpu_executor.cli.program_file import read_program
from qpu_executor.errors import ConfigError


def read_counts(path: Path) -> dict[str, int]:
    """Bitstrings with how often each was seen, as in a result. Raises ConfigError."""
    try:
        found = json.loads(read_program(path))
    except ValueError as error:
        raise ConfigError(f"isn't JSON: {error}", where=str(path), expected=_EXPECTED) from None
    if not isinstance(found, dict) or not all(type(seen) is int for seen in found.values()):
        raise ConfigError("holds no counts", where=str(path), expected=_EXPECTED)
    return found


_EXPECTED = 'bitstrings and numbers, like {"00": 61, "01": 39}'
