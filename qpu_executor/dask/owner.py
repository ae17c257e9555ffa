"""This process's connection to its default manager, which an embedded manager lives as long as.

One per process: clusters that are registered without a URL share the manager.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from qpu_executor.errors import QpuExecutorError

if TYPE_CHECKING:
    from qpu_executor.client import Client

WAIT_S = 10.0
"""How long registering waits for a manager that doesn't answer."""


class DefaultManager:
    """Opened when its URL is first asked for; ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pid = 0

    def url(self) -> str:
        """URL of `QPU_MANAGER`, or of the embedded manager (started, or started again, if needed).

        Raises what `connect()` raises.
        """
        with self._lock:
            client = self._client
            # A forked child has no threads of its parent's client.
            if client is None or self._pid != os.getpid() or not _answers(client):
                from qpu_executor.client import connect

                client = connect(wait_s=WAIT_S)
                self._client, self._pid = client, os.getpid()
            return client.url

    def close(self) -> None:
        """End the connection, and the embedded manager with it. The next `url` opens another."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None and self._pid == os.getpid():
                client.close()


def _answers(client: Client) -> bool:
    try:
        client.health()
    except QpuExecutorError:
        return False
    return True


default_manager = DefaultManager()
