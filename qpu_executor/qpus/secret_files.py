"""Secrets from files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from qpu_executor.errors import ConfigError


def read_secret(path: str, where: str) -> str:
    """The one line in a file, without the end of the line.

    `where`: the setting that names the file, for messages. Raises ConfigError for a file
    that can't be read, is empty, may be read by others than its owner, or belongs to
    somebody else than this user and root.
    """
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())  # of what is read, whatever the path leads to later
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no text"
        raise ConfigError(f"the secret can't be read from {path}: {reason}", where=where) from None
    if found.st_mode & 0o077:
        raise ConfigError(
            f"the secret in {path} may be read by others (mode {found.st_mode & 0o777:o})",
            where=where,
            next_step=f"chmod 600 {path}",
        )
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"the secret in {path} belongs to uid {found.st_uid}",
            where=where,
            expected="a file of this user or of root",
            next_step=f"chown {os.geteuid()} {path}",
        )
    if not text:
        raise ConfigError(f"{path} is empty", where=where)
    return text
