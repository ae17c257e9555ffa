"""The checks of a site: its file, its host, and everything that the file names.

Nothing that a running manager holds is touched: the store is looked at and not opened, QPUs
are opened in a directory that is thrown away, and no job is sent to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from qpu_executor import installed
from qpu_executor.cli.doctor import host, packages
from qpu_executor.cli.doctor.finding import Check, Finding, ok
from qpu_executor.cli.doctor.site_database import store_database
from qpu_executor.cli.doctor.site_network import listening, munged
from qpu_executor.cli.doctor.site_qpus import open_and_ask
from qpu_executor.cli.doctor.site_store import store_file
from qpu_executor.cli.server_files import check_tls, placed
from qpu_executor.cli.server_parts import build_site_policy, missing_server_extra
from qpu_executor.errors import ConfigError
from qpu_executor.settings import SiteSettings, StoreSettings, read_site
from qpu_executor.settings.safe_files import refuse_writable_by_others

OPEN_S = 60.0
"""An emulator imports its packages; a service may be away."""

DATABASE_S = 20.0
"""A database that doesn't answer is given up after 5 s; its name may take time as well."""


class SiteSetup:
    """`path`: the site file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def checks(self) -> list[Check]:
        """All of them; those about the file's content only where it can be read."""
        found = [
            Check("python", lambda: [packages.python_here(installed.versions()["python"])]),
            Check("server", self._server),
            Check("site", self._file),
        ]
        try:
            settings = read_site(self._path)
        except ConfigError:  # the file's own check says so
            return found
        manager = settings.manager
        return [
            *found,
            Check("policy", lambda: self._policy(settings)),
            *self._of_the_store(settings),
            Check("tls", lambda: self._tls(settings)),
            Check("munge", lambda: munged(settings)),
            *[Check("listen", partial(listening, one, settings), 30.0) for one in manager.listen],
            *[
                Check("qpu", partial(open_and_ask, name, one.kind, one.adapter_settings()), OPEN_S)
                for name, one in settings.qpus.items()
            ],
        ]

    def _server(self) -> Iterable[Finding]:
        missing_server_extra()
        return [ok("server", "the manager's packages are installed")]

    def _file(self) -> Iterable[Finding]:
        read_site(self._path)
        refuse_writable_by_others(self._path, "site file")
        return [ok("site", f"{self._path} can be read, and written by its owner alone")]

    def _policy(self, settings: SiteSettings) -> Iterable[Finding]:
        policy = build_site_policy(settings)
        policy.scheduler()
        classes = ", ".join(one.name for one in policy.classes)
        return [ok("policy", f"{policy.kind}, classes {classes}")]

    def _of_the_store(self, settings: SiteSettings) -> list[Check]:
        store = placed(settings.manager.store or StoreSettings())
        assert store.directory is not None
        found = [Check("store", partial(host.directory, "store", store.directory))]
        if store.path is not None:
            found.append(Check("store", partial(store_file, store.path)))
        else:
            found.append(Check("store", partial(store_database, store), DATABASE_S))
        return found

    def _tls(self, settings: SiteSettings) -> Iterable[Finding]:
        tls = settings.manager.tls
        if tls is None:
            return [ok("tls", "none is set up")]
        check_tls(tls)
        return [ok("tls", f"{tls.certificate} and its key belong together")]
