"""The site file: manager, job classes and QPUs, read once at the edge.

One YAML file describes a site (`configs/site.yaml` is an example that runs).
Unknown keys, wrong types and impossible values are refused with file, line,
key path and the nearest known name, all of them in one message. The values
that come out are frozen; each layer is handed its own part only.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.model.values import JobClass

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManagerSettings(_Part):
    """`listen`: addresses (`unix:///path`, `http://127.0.0.1:8080`). `store`: SQLite file.

    `time_scale`: how much faster than real time the manager's clock runs
    (rehearsals). `health_every_s`: pause between looks at a QPU's health.
    """

    listen: list[str] = Field(default=["http://127.0.0.1:8080"], min_length=1)
    store: Path | None = None
    time_scale: float = Field(default=1.0, ge=0.01, le=100.0)
    health_every_s: float = Field(default=5.0, gt=0, le=3600)


class JobClassSettings(_Part):
    """A job class. Higher `priority` goes first; `chunk_s`: seconds between chances to give way."""

    priority: int = Field(ge=-1_000_000, le=1_000_000)
    chunk_s: float = Field(default=10.0, gt=0, le=86_400)
    max_shots: int | None = Field(default=None, ge=1)
    description: str = ""


class QpuSettings(BaseModel):
    """A QPU: its adapter's `kind`, and whatever that adapter wants to know."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    def adapter_settings(self) -> dict[str, Any]:
        """The adapter's own part."""
        return dict(self.model_extra or {})


class SiteSettings(_Part):
    """A whole site file. `file`: where it was read from, for messages."""

    manager: ManagerSettings = ManagerSettings()
    default_class: str
    job_classes: dict[Name, JobClassSettings] = Field(min_length=1)
    qpus: dict[Name, QpuSettings] = Field(min_length=1)

    def classes(self) -> tuple[JobClass, ...]:
        """The job classes as the scheduling core sees them, the most urgent first."""
        found = [
            JobClass(
                name=name,
                priority=one.priority,
                chunk_s=one.chunk_s,
                max_shots=one.max_shots,
                description=one.description,
            )
            for name, one in self.job_classes.items()
        ]
        return tuple(sorted(found, key=lambda one: -one.priority))


def read_site(path: Path) -> SiteSettings:
    """Read a site file. Raises ConfigError with every problem in it.

    Relative paths in it (the store) are relative to the file's directory.
    """
    site = parse_site(read_text(path, "site file"), str(path))
    store = site.manager.store
    if store is None or store.is_absolute():
        return site
    manager = site.manager.model_copy(update={"store": (path.parent / store).resolve()})
    return site.model_copy(update={"manager": manager})


def embedded_site() -> SiteSettings:
    """The site of an embedded manager that nobody configured."""
    text = resources.files("qpu_executor").joinpath("embedded_site.yaml").read_text("utf-8")
    return parse_site(text, "embedded_site.yaml")


def parse_site(text: str, file: str) -> SiteSettings:
    """Read a site file's text; `file` names it in messages. Raises ConfigError."""
    problems = Problems(file)
    raw = parse_mapping(text, problems, "a site file: manager, job_classes and qpus")
    site = build(SiteSettings, raw, problems)
    if site is not None and site.default_class not in site.job_classes:
        problems.add(
            ("default_class",),
            f"there is no job class '{site.default_class}'"
            + suggestion(site.default_class, site.job_classes),
        )
    problems.raise_if_any()
    if site is None:
        raise ConfigError(f"{file}: not a valid site file")
    return site


def state_directory() -> Path:
    """Where this user's state lives ($XDG_STATE_HOME, else ~/.local/state), for our product."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "qpu-executor"
