"""Which manager a cluster uses: what travels from the client to the scheduler and the workers."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpu_executor.errors import ManagerUnreachable

if TYPE_CHECKING:
    from qpu_executor.client import AsyncClient

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_host() -> str:
    """Names the host (and its boot) that this process runs on."""
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    return f"{socket.gethostname()} {boot}".strip()


@dataclass(frozen=True)
class ManagerAddress:
    """A manager's URL as one host sees it.

    `host`: where the URL was written down (a unix socket is good there only).
    `wait_s`: how long a worker waits in all for a manager that doesn't answer.
    """

    url: str
    host: str
    session: str | None = None
    wait_s: float = 300.0

    async def open(self, wait_s: float | None = None) -> AsyncClient:
        """A connection for the running event loop.

        Raises ManagerUnreachable, at once where this host can't reach the URL.
        """
        self.check_host()
        # Only processes that talk to a manager load the HTTP client.
        from qpu_executor.client import aconnect

        patience_s = self.wait_s if wait_s is None else wait_s
        return await aconnect(self.url, session=self.session, wait_s=patience_s)

    def check_host(self) -> None:
        """Raise ManagerUnreachable if the URL is a socket of another host."""
        here = this_host()
        if self.url.startswith("unix:") and here != self.host:
            theirs, ours = self.host.split()[0], here.split()[0]
            raise ManagerUnreachable(
                f"the manager listens on a socket of host {theirs}, this worker runs on {ours}",
                where=self.url,
                expected="a manager that listens on TCP",
                next_step="start one with `qpu serve` and register"
                " QPUPlugin('http://HOST:PORT') with its address",
            )
