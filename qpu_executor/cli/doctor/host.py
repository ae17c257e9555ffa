"""What this host offers: a place for state, room on its disk, scripts on PATH."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from qpu_executor.cli.doctor.finding import Finding, ok, warning, wrong

LITTLE_MB = 200
"""Less than that is soon filled by a store and its journal."""

MB = 1_000_000


def directory(about: str, path: Path) -> Iterable[Finding]:
    """A directory that a manager writes to, or will make."""
    here = _nearest(path)
    if not os.access(here, os.W_OK | os.X_OK):
        yield wrong(about, f"{here} can't be written", f"chmod u+rwx {here}, or name another one")
        return
    try:
        # Permissions don't tell everything: quotas, read-only mounts.
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        yield wrong(about, f"{here} can't be written: {error.strerror}", "free space, or move it")
        return
    yield _room(about, here)


def _room(about: str, here: Path) -> Finding:
    free_mb = shutil.disk_usage(here).free / MB
    if free_mb < LITTLE_MB:
        return warning(about, f"{here} has {free_mb:.0f} MB left", "free space, or move it")
    return ok(about, f"{here} can be written, {free_mb / 1000:.1f} GB are free")


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest one above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def on_path(names: Iterable[str]) -> list[str]:
    """Those that a shell would find."""
    return [name for name in names if shutil.which(name) is not None]
