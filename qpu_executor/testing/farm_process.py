"""An emulator farm as a real process on a unix socket, for tests of managers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class FarmProcess:
    """`url`: of the farm; `process`: to be killed at will."""

    url: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextmanager
def farm_process(directory: Path, config: Mapping[str, Any]) -> Iterator[FarmProcess]:
    """A farm that has said that it takes chunks. `config`: its file, but for `listen`.

    Raises RuntimeError if it ends before. What it logs is in `directory`/farm.log.
    """
    file = directory / "farm.yaml"
    # JSON is YAML.
    file.write_text(json.dumps({"listen": f"unix://{directory}/farm.sock", **config}), "utf-8")
    command = [sys.executable, "-m", "qpu_executor.cli.main", "farm", "serve"]
    with (
        (directory / "farm.log").open("a") as log,
        subprocess.Popen(  # noqa: S603
            [*command, "--config", str(file)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=directory,
        ) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            if not said.startswith("qpu: farm on "):
                raise RuntimeError((directory / "farm.log").read_text("utf-8"))
            yield FarmProcess(said.split()[3], process)
        finally:
            process.terminate()
            process.wait()
