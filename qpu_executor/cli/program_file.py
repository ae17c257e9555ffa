"""Reads the program that a command names."""

from __future__ import annotations

from pathlib import Path

from qpu_executor.errors import ConfigError


def read_program(path: Path) -> str:
    """The text of a program's file. Raises ConfigError."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not a text file", where=str(path), expected="JSON") from None
