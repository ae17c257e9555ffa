"""The directory of a run: what it was asked, how far it got, and what it found.

runs/<name>-<utc time>-<id>/
    run.json        what was asked, and the state (written atomically)
    run.lock        held while a process works on the run
    pipeline.yaml   the file as it was
    results/        results of finished tasks, one file each
    output/         what steps printed
    manager/        store of the embedded manager
    engine/         logs of Parsl or Dask
    run.log         our own log
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from qpu_executor.documents.problems import suggestion
from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.atomic_files import write_atomically

RUN_FILE = "run.json"


class RunRecord(BaseModel):
    """What `run.json` holds. `state`: running, done, failed, interrupted.

    `sessions`: ids of the manager's sessions, one per attempt; `fingerprints`: of the
    steps, so that a resumed run can say what changed.
    """

    model_config = ConfigDict(extra="ignore")

    version: int = 1
    run: str
    name: str
    pipeline: str
    seed: int
    inputs: dict[str, Any]
    engine: str
    profile: str
    manager: str | None
    state: str = "running"
    attempts: int = 1
    sessions: list[str] = []
    fingerprints: dict[str, str] = {}
    started_at: datetime
    ended_at: datetime | None = None


@dataclass
class RunDirectory:
    """An open run directory: this process works on it until `close`."""

    path: Path
    record: RunRecord
    _lock: IO[bytes] | None = field(default=None, repr=False)

    @property
    def log_file(self) -> Path:
        """Our own log of the run."""
        return self.path / "run.log"

    def save(self) -> None:
        """Write the record, durable when this returns."""
        write_atomically(
            self.path / RUN_FILE, self.record.model_dump_json(indent=2).encode() + b"\n"
        )

    def close(self) -> None:
        """Let another process take the run. May be called twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def create(
    runs: Path, record: RunRecord, pipeline_text: str, *, now: datetime, short_id: str
) -> RunDirectory:
    """Make the directory of a new run, named after the pipeline, the time and `short_id`."""
    path = (runs / f"{record.name}-{now:%Y%m%dT%H%M%SZ}-{short_id}").absolute()
    try:
        path.mkdir(parents=True, mode=0o755)
    except OSError as error:
        raise ConfigError(
            f"{path}: the run's directory can't be made: {error.strerror}",
            next_step="name another place with --directory",
        ) from None
    record.run = path.name
    directory = RunDirectory(path, record, _take(path))
    write_atomically(path / "pipeline.yaml", pipeline_text.encode())
    directory.save()
    return directory


def reopen(path: Path) -> RunDirectory:
    """Open the directory of an earlier run. Raises ConfigError where another process has it."""
    record = read(path)
    return RunDirectory(path.absolute(), record, _take(path))


def find(runs: Path, wanted: str, pipeline: Path | None) -> Path:
    """The run named by a directory, by its name, or (empty) the newest of this pipeline."""
    if wanted:
        for candidate in (Path(wanted), runs / wanted):
            if (candidate / RUN_FILE).is_file():
                return candidate
        known = [path.name for path in _all(runs)]
        raise ConfigError(f"--resume {wanted}: no such run in {runs}{suggestion(wanted, known)}")
    newest: tuple[datetime, Path] | None = None
    for path in _all(runs):
        try:
            record = read(path)
        except ConfigError:
            continue
        mine = pipeline is None or Path(record.pipeline) == pipeline
        if mine and (newest is None or record.started_at > newest[0]):
            newest = (record.started_at, path)
    if newest is None:
        of = f" of {pipeline}" if pipeline else ""
        raise ConfigError(
            f"there is no run{of} in {runs} to go on with", next_step="start one without --resume"
        )
    return newest[1]


def _all(runs: Path) -> Iterator[Path]:
    if runs.is_dir():
        for path in sorted(runs.iterdir()):
            if (path / RUN_FILE).is_file():
                yield path


def read(path: Path) -> RunRecord:
    """The record of a run. Raises ConfigError where there is none that can be read."""
    file = path / RUN_FILE
    try:
        record = RunRecord.model_validate(json.loads(file.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        detail = str(error).splitlines()[0]
        raise ConfigError(f"{file}: not the record of a run: {detail}") from None
    if record.version != 1:
        raise ConfigError(
            f"{file}: written by a newer version (format {record.version})",
            next_step="resume with that version",
        )
    return record


def _take(path: Path) -> IO[bytes]:
    file = open(path / "run.lock", "ab")  # noqa: SIM115 - held until close()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigError(
            f"{path}: another process is working on this run",
            next_step="wait for it, or end it first",
        ) from None
    os.set_inheritable(file.fileno(), False)
    return file
