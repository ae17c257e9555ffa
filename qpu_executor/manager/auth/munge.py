"""Callers that prove themselves with a MUNGE credential: one for every request.

In the headers: `authorization: MUNGE MUNGE:...:`, or `x-munge-cred: MUNGE:...:` as the
clients of Warden send it. The uid is that of the cluster; its name is this host's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qpu_executor import munge
from qpu_executor.errors import ConfigError
from qpu_executor.manager.auth.base import Place, Presented
from qpu_executor.manager.auth.caller import Caller, caller_of_uid
from qpu_executor.nearest import did_you_mean

THREADS = 4
"""munged answers within a millisecond; more callers at once wait their turn."""


class MungeAuthenticator:
    """`socket`: munged's, None for libmunge's own default."""

    scheme = "MUNGE"
    expects = "a MUNGE credential (authorization: MUNGE ...)"
    across_hosts = True

    def __init__(self, socket: str | None) -> None:
        self._socket = socket
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Try it once: a manager that can't check credentials must not start."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="munge")
        await self._run(self._try)

    def _try(self) -> munge.Credential:
        return munge.decode(munge.encode(socket=self._socket), socket=self._socket)

    async def close(self) -> None:
        """End the threads."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def caller_of(self, presented: Presented) -> Caller | None:
        """See `Authenticator`."""
        text = _credential(presented.headers)
        if text is None:
            return None
        found = await self._run(lambda: munge.decode(text, socket=self._socket))
        return caller_of_uid(found.uid, "MUNGE")

    async def _run(self, work: Any) -> munge.Credential:
        found: munge.Credential = await asyncio.get_running_loop().run_in_executor(
            self._threads, work
        )
        return found


def _credential(headers: Mapping[str, str]) -> str | None:
    if (legacy := headers.get("x-munge-cred")) is not None:
        return legacy.strip()
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    return rest.strip() if scheme.lower() == "munge" else None


def build(settings: Mapping[str, Any], place: Place) -> MungeAuthenticator:
    """The authenticator of kind `munge`. Raises ConfigError."""
    for key in settings:
        if key != "socket":
            raise ConfigError(
                f"there is no setting {key!r}{did_you_mean(key, ['socket'])}",
                where="manager.authentication",
                expected="socket",
            )
    socket = settings.get("socket")
    if socket is not None and (not isinstance(socket, str) or not socket.startswith("/")):
        raise ConfigError(
            f"socket must be an absolute path, not {socket!r}", where="manager.authentication"
        )
    return MungeAuthenticator(socket)
