"""Ends a private PostgreSQL whose owner was killed, and removes its files.

    python -m qpu_executor.testing.postgres_watch OWNER DIRECTORY

A process beside both, since neither can see to it: a killed owner does nothing any more, and
a server that `pg_ctl` has started isn't its child.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from qpu_executor.testing.postgres import remove_server


def main(owner: int, directory: Path) -> None:
    """Wait until the process `owner`, which has started this one, has ended."""
    try:
        pidfd = os.pidfd_open(owner)
    except ProcessLookupError:
        pidfd = None
    if pidfd is not None and os.getppid() == owner:  # else that number is another's by now
        select.select([pidfd], [], [])
    remove_server(directory)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
