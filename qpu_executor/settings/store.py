"""The site file's part about the store: a SQLite file, or a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import Field

from qpu_executor.documents.problems import Problems
from qpu_executor.settings.part import Part

_URLS = ("postgresql://", "postgres://")


class StoreSettings(Part):
    """`path`: of a SQLite file; or `url`: of a PostgreSQL database, as libpq reads it.

    `password_file`: holds its user's password. `directory`: where QPUs keep small files
    (default: beside the SQLite file). `standby`: wait while another manager has the store.
    `lease_s`: after how long a silence a manager loses a PostgreSQL store.
    """

    path: Path | None = None
    url: str | None = None
    password_file: Path | None = None
    directory: Path | None = None
    standby: bool = False
    lease_s: float = Field(default=10.0, ge=1, le=300)

    def relative_to(self, directory: Path) -> StoreSettings:
        """The same with paths that were given relative to a directory."""
        found = {
            name: (directory / path).resolve()
            for name in ("path", "password_file", "directory")
            if (path := getattr(self, name)) is not None
        }
        return self.model_copy(update=found)


def path_or_settings(value: Any) -> Any:
    """`store: FILE` is short for `{path: FILE}`, and `store: postgresql://…` for `{url: …}`."""
    if isinstance(value, Path):
        return {"path": value}
    if isinstance(value, str):
        return {"url" if "://" in value else "path": value}
    return value


def check_store(store: StoreSettings | None, problems: Problems) -> None:
    """What its types don't say. Never shows the URL: it may hold a password."""
    if store is None:
        return
    place = ("manager", "store")
    if store.path is not None and store.url is not None:
        problems.add(place, "has a path and a url; a store is one or the other")
    if store.url is None:
        if store.password_file is not None:
            problems.add((*place, "password_file"), "belongs to a url; a file needs no password")
        return
    if not store.url.startswith(_URLS):
        problems.add(place, "the url must begin with postgresql://; a SQLite file is a path")
        return
    try:
        parts = urlsplit(store.url)
        secret = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        problems.add(place, "the url can't be read; expected postgresql://user@host/database")
        return
    if secret:
        problems.add(
            place,
            "the url holds a password; put it into a file of mode 600 and name that as "
            "password_file, or into ~/.pgpass",
        )
