"""Secrets from files that only their owner may read."""

from __future__ import annotations

from pathlib import Path

from qpu_executor.errors import ConfigError


def read_secret(path: str, where: str) -> str:
    """The one line in a file, without the end of the line.

    `where`: the setting that names the file, for messages. Raises ConfigError for a file
    that can't be read, is empty, or may be read by others than its owner.
    """
    file = Path(path).expanduser()
    try:
        mode = file.stat().st_mode
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no text"
        raise ConfigError(f"the secret can't be read from {path}: {reason}", where=where) from None
    if mode & 0o077:
        raise ConfigError(
            f"the secret in {path} may be read by others (mode {mode & 0o777:o})",
            where=where,
            next_step=f"chmod 600 {path}",
        )
    if not text:
        raise ConfigError(f"{path} is empty", where=where)
    return text
