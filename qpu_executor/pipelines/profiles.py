"""Profiles: which manager, which engine, and where classical work runs.

A profile is a small YAML file, named by its path, or by its name in
`configs/profiles` under the working directory, `~/.config/qpu-executor/profiles`,
or `/etc/qpu-executor/profiles`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.nearest import nearest
from qpu_executor.wire.tasks import NeedsIn

ENGINES = ("parsl", "dask")
EXPECTED = "a profile: a mapping with any of 'manager', 'engine', 'classical', 'tasks', 'site'"


class Classical(BaseModel):
    """Where classical steps run: `workers` processes of this host."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    workers: int = Field(default=2, ge=1, le=4096)


class TaskDefaults(BaseModel):
    """Where the tasks of steps run that say nothing about it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    job_class: str | None = None
    qpu: str | None = None
    device: str | None = None
    require: NeedsIn | None = None

    def options(self) -> dict[str, Any]:
        """Those that are given."""
        return self.model_dump(exclude_none=True, exclude_defaults=True)


class Profile(BaseModel):
    """`manager`: a URL, or null for an embedded one; `site`: its site file (null: the default)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    manager: str | None = None
    engine: Literal["parsl", "dask"] = "parsl"
    classical: Classical = Classical()
    tasks: TaskDefaults = TaskDefaults()
    site: str | None = None
    description: str = ""


def load_profile(
    wanted: str | None, *, environment: Mapping[str, str] = os.environ
) -> tuple[str, Profile]:
    """The profile of that name or path, else $QPU_PROFILE's, else the defaults; with its name.

    Raises ConfigError: unknown (with the nearest name and the places that were looked
    in), or wrong (file, line, nearest key).
    """
    said_in = "--profile" if wanted else "$QPU_PROFILE"
    wanted = wanted or environment.get("QPU_PROFILE") or None
    if wanted is None:
        return "default", Profile()
    path = _find(wanted, said_in, environment)
    problems = Problems(str(path))
    raw = parse_mapping(read_text(path, "profile"), problems, EXPECTED)
    profile = build(Profile, raw, problems)
    problems.raise_if_any()
    assert profile is not None
    if profile.site is not None:
        site = (path.parent / Path(profile.site).expanduser()).resolve()
        profile = profile.model_copy(update={"site": str(site)})
    return path.stem, profile


def check_engine(name: str) -> str:
    """The engine's name, checked. Raises ConfigError with the nearest one."""
    if name not in ENGINES:
        guess = nearest(name, ENGINES)
        raise ConfigError(
            f"--engine {name}: there is no such engine"
            + (f"; did you mean '{guess}'?" if guess else ""),
            expected="parsl or dask",
        )
    return name


def _places(environment: Mapping[str, str]) -> list[Path]:
    home = environment.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return [
        Path("configs/profiles").absolute(),
        Path(home, "qpu-executor/profiles"),
        Path("/etc/qpu-executor/profiles"),
    ]


def _find(wanted: str, said_in: str, environment: Mapping[str, str]) -> Path:
    if "/" in wanted or wanted.endswith((".yaml", ".yml")):
        path = Path(wanted).expanduser()
        if not path.is_file():
            raise ConfigError(f"{said_in} {wanted}: there is no such file")
        return path
    places = _places(environment)
    for place in places:
        path = place / f"{wanted}.yaml"
        if path.is_file():
            return path
    known = {path.stem for place in places if place.is_dir() for path in place.glob("*.yaml")}
    raise ConfigError(
        f"{said_in} {wanted}: there is no such profile{suggestion(wanted, known)}",
        where=None,
        expected="one in " + ", ".join(str(place) for place in places),
    )
