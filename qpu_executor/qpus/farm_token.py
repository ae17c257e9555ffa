"""The secret that a farm and its managers share where they meet over TCP: one line in a file.

The file is its owner's alone (mode 0600), and one that others can read is refused.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from qpu_executor.errors import ConfigError

_LEAST_CHARACTERS = 20


def read_token(path: Path, where: str) -> str:
    """The token in a file. Raises ConfigError with what to type; `where`: the setting."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(
            f"{path}: the token can't be read: {error.strerror}",
            where=where,
            next_step="copy the farm's token file here, with mode 0600",
        ) from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise ConfigError(
                f"{path}: others may read or change the token",
                where=where,
                expected="a file of this user's own, with mode 0600",
                next_step=f"chmod 600 {path}, and make a new token if it was open to others",
            )
        token = file.read(4096).decode("ascii", "replace").strip()
    if len(token) < _LEAST_CHARACTERS or not token.isprintable() or not token.isascii():
        raise ConfigError(
            f"{path}: this is no token",
            where=where,
            expected=f"one line of at least {_LEAST_CHARACTERS} printable characters",
            next_step="remove it, and let the farm make one",
        )
    return token


def make_token(path: Path, where: str) -> str:
    """The token in a file, which is made if it isn't there. Raises ConfigError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path, where)
    except OSError as error:
        raise ConfigError(
            f"{path}: the token can't be written: {error.strerror}", where=where
        ) from None
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return read_token(path, where)
