"""The farm's own file: where it listens, what it emulates, and where that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.farm_settings import refuse_bad_url


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LocalEngine(_Part):
    """Worker processes of the farm's host."""

    kind: Literal["local"] = "local"


class ParslEngine(_Part):
    """Parsl. `config`: a Python file whose `config` is a parsl.config.Config; without one,
    a HighThroughputExecutor with `workers` workers on the farm's host.
    """

    kind: Literal["parsl"]
    config: Path | None = None


class DaskEngine(_Part):
    """Dask. `scheduler`: its address; or `scheduler_file`, as `dask scheduler` writes it."""

    kind: Literal["dask"]
    scheduler: str | None = None
    scheduler_file: Path | None = None


EngineSettings = Annotated[LocalEngine | ParslEngine | DaskEngine, Field(discriminator="kind")]


class FarmConfig(_Part):
    """One farm. `listen`: `unix:///path.sock` or `http://host:port` (port 0: any free one).

    `token_file`: needed for http; made where it is missing. `address_file`: gets the URL.
    `workers`: emulations at once. `emulator`: as for a QPU of kind `pulser-emulator`.
    """

    listen: str
    token_file: Path | None = None
    address_file: Path | None = None
    workers: Annotated[int, Field(ge=1, le=10_000)] = 1
    engine: EngineSettings = LocalEngine()
    emulator: dict[str, Any] = {}

    def settings(self) -> EmulatorSettings:
        """Of the emulators. Raises ConfigError."""
        return EmulatorSettings.read("emulator", {**self.emulator, "workers": self.workers})


def read_config(path: Path) -> FarmConfig:
    """Read a farm's file. Raises ConfigError with every problem in it.

    Relative paths in it are relative to the file's directory.
    """
    problems = Problems(str(path))
    text = read_text(path, "farm file")
    found = build(FarmConfig, parse_mapping(text, problems, "a farm file"), problems)
    if found is not None and "workers" in found.emulator:
        problems.add(("emulator", "workers"), "belongs one level up: how many emulate at once")
    if found is not None:
        _check_engine(found, problems)
    problems.raise_if_any()
    if found is None:
        raise ConfigError(f"{path}: not a valid farm file")
    refuse_bad_url(found.listen, found.token_file is not None, f"{path}: listen")
    found.settings()
    return _beside(found, path.parent)


def _check_engine(found: FarmConfig, problems: Problems) -> None:
    engine = found.engine
    if isinstance(engine, DaskEngine) and (engine.scheduler is None) == (
        engine.scheduler_file is None
    ):
        problems.add(("engine",), "either scheduler or scheduler_file says where Dask is")


def _beside(found: FarmConfig, directory: Path) -> FarmConfig:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else (directory / path).absolute()

    engine: LocalEngine | ParslEngine | DaskEngine = found.engine
    if isinstance(engine, ParslEngine):
        engine = engine.model_copy(update={"config": absolute(engine.config)})
    elif isinstance(engine, DaskEngine):
        engine = engine.model_copy(update={"scheduler_file": absolute(engine.scheduler_file)})
    return found.model_copy(
        update={
            "token_file": absolute(found.token_file),
            "address_file": absolute(found.address_file),
            "engine": engine,
        }
    )
