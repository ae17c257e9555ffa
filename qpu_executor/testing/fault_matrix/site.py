"""A directory with a site file in it, whose times are short."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from qpu_executor.testing.ports import free_port

QPU = "fresnel"

_SITE = """
manager:
  listen: ["{url}"]
  store: {store}
  health_every_s: 0.1
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 0.03}}
qpus:
  {qpu}:
    kind: pasqal-controller
    url: "{controller}"
    shot_rate_hz: 1000
    answer_s: 0.3
    accept_s: 0.4
    silence_s: 0.2
    overdue_s: 0.4
    unknown_deadline_s: {deadline_s}
    {give_up}
"""

SHOT_S = 0.001
LOST_AFTER_S = 0.7
"""When a chunk is given up whose acceptance nobody saw, where the site says so."""


@dataclass(frozen=True)
class Place:
    """`store`: path of a SQLite file, or URL of a PostgreSQL database. `gives_up`: the site
    says when a chunk never arrived; else an operator decides.
    """

    directory: Path
    store: str
    url: str
    gives_up: bool = True

    @property
    def site(self) -> Path:
        """The site file."""
        return self.directory / "site.yaml"

    @property
    def log(self) -> Path:
        """What managers and clients say."""
        return self.directory / "manager.log"

    @property
    def log_end(self) -> str:
        """The last of it."""
        return self.log.read_text("utf-8", "replace")[-3000:]

    @property
    def record(self) -> Path:
        """What the adapter has written down of what it sent."""
        return self.directory / f"{QPU}.controller.jsonl"

    def write_site(self, controller: str) -> None:
        """Make the site file, for a controller's URL."""
        kind = "url" if "://" in self.store else "path"
        text = _SITE.format(
            url=self.url,
            store=json.dumps({kind: self.store, "directory": str(self.directory)}),
            qpu=QPU,
            controller=controller,
            deadline_s=600 if self.gives_up else 0.4,
            give_up=f"lost_after_s: {LOST_AFTER_S}" if self.gives_up else "",
        )
        self.site.write_text(text, "utf-8")
        self.site.chmod(0o600)


def free_url() -> str:
    """An address on loopback where nobody listens: managers come back to the same one."""
    return f"http://127.0.0.1:{free_port()}"
