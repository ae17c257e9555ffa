"""What the client presents so that the manager knows who is asking.

A bearer token, if there is one ($QPU_TOKEN, or a file that $QPU_TOKEN_FILE names).
Otherwise nothing, until the manager asks for a MUNGE credential: then a new one with every
request, where this host has MUNGE. On a unix socket and on loopback the kernel tells the
manager, and neither is needed.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from qpu_executor import munge
from qpu_executor.errors import ConfigError

VARIABLE = "QPU_TOKEN"
FILE_VARIABLE = "QPU_TOKEN_FILE"
MUNGE_VARIABLE = "QPU_MUNGE_SOCKET"


class Credentials:
    """Headers for requests. `token`: None for none; `munge_socket`: None for the default."""

    def __init__(self, token: str | None = None, munge_socket: str | None = None) -> None:
        self._token = token
        self._munge_socket = munge_socket
        self._munge = False

    async def headers(self) -> dict[str, str]:
        """For one request. Raises OperatorError if MUNGE was asked for and isn't there."""
        if self._token is not None:
            return {"authorization": f"Bearer {self._token}"}
        if not self._munge:
            return {}
        made = await asyncio.to_thread(munge.encode, socket=self._munge_socket)
        return {"authorization": f"MUNGE {made}"}

    def challenged(self, challenge: str) -> bool:
        """The manager asks who this is. True if it is worth asking again, with other headers."""
        schemes = {one.strip().lower() for one in challenge.split(",")}
        if self._token is not None or self._munge or "munge" not in schemes:
            return False
        self._munge = munge.available()
        return self._munge


def credentials_of(environment: Mapping[str, str]) -> Credentials:
    """What the environment says. Raises ConfigError for a token file that others can read."""
    token = environment.get(VARIABLE, "").strip() or None
    path = environment.get(FILE_VARIABLE)
    if token is None and path:
        token = _read(Path(path))
    return Credentials(token, environment.get(MUNGE_VARIABLE) or None)


def _read(path: Path) -> str:
    where = f"${FILE_VARIABLE}"
    try:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            text = file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} can't be read: {error}", where=where) from None
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"the token file {path} belongs to uid {found.st_uid}",
            where=where,
            expected="a file of your own",
            next_step=f"chown {os.geteuid()} {path}",
        )
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others can read the token file {path}", where=where, next_step=f"chmod 600 {path}"
        )
    if not text:
        raise ConfigError(f"the token file {path} is empty", where=where)
    return text
