"""The parts of a manager, built from a site's settings and opened in order."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpu_executor.errors import OperatorError

if TYPE_CHECKING:
    from qpu_executor.manager.api.listening import Exposure
    from qpu_executor.manager.auth.authentication import Authentication
    from qpu_executor.manager.service.fleet import Fleet
    from qpu_executor.manager.service.manager import Manager
    from qpu_executor.manager.service.site_policy import SitePolicy
    from qpu_executor.manager.store.base import Store
    from qpu_executor.qpus.checking import ProgramChecker
    from qpu_executor.scheduling.scheduler import Scheduler
    from qpu_executor.settings import PolicySettings, SiteSettings

NEEDED = ("alembic", "fastapi", "fastapi_offline", "sqlalchemy", "uvicorn", "httptools")


def missing_server_extra() -> None:
    """Raises OperatorError if the packages of the server extra aren't installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OperatorError(
            f"the manager needs {', '.join(missing)}",
            next_step="pip install 'qpu-executor[server,emulator]'",
        )


@dataclass(frozen=True)
class Parts:
    """Built, not yet opened. `running` opens them, and closes them in reverse.

    `directory`: where QPUs may keep small files of their own.
    """

    settings: SiteSettings
    store: Store
    fleet: Fleet
    checker: ProgramChecker
    manager: Manager
    authentication: Authentication
    embedded: bool
    directory: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[str]]:
        """Open everything, and yield the URLs that are listened on."""
        from qpu_executor.manager.api.app import create_app
        from qpu_executor.manager.api.limits import fitting
        from qpu_executor.manager.api.listening import make_servers, open_sockets, remover_of
        from qpu_executor.manager.service.vital import vital

        async with AsyncExitStack() as stack:
            await self.store.open()
            stack.push_async_callback(self.store.close)
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self.checker.open()
            stack.push_async_callback(self.checker.close)
            stack.push_async_callback(self.fleet.close)
            clock = await self.manager.recall()
            await self.fleet.open(clock, self.directory)
            await self.authentication.open()
            stack.push_async_callback(self.authentication.close)
            exposure = self._exposure()
            sockets, urls = open_sockets(self.settings.manager.listen, exposure)
            for one in sockets:
                stack.callback(remover_of(one, private=self.embedded))
            await self.manager.start()
            stack.push_async_callback(self.manager.stop)
            app = create_app(
                self.manager,
                self.authentication,
                embedded=self.embedded,
                limits=fitting(self.settings.manager.limits.limits()),
            )
            servers = make_servers(app, zip(sockets, urls, strict=True), exposure.tls)
            loop = self.manager.loop
            serving = [
                vital(server.serve(sockets=own), "http", loop.die) for server, own in servers
            ]
            try:
                for server, _ in servers:
                    await _first_of(server.listening.wait(), loop.ended())
                if loop.failure is not None:
                    raise loop.failure
                yield urls
            finally:
                for server, _ in servers:
                    server.should_exit = True
                await self.manager.broadcast.close()
                await asyncio.gather(*serving, return_exceptions=True)

    def _exposure(self) -> Exposure:
        from qpu_executor.manager.api.listening import Exposure, Tls

        manager = self.settings.manager
        tls = None if manager.tls is None else Tls(manager.tls.certificate, manager.tls.key)
        mode = 0o600 if self.embedded else int(manager.socket_mode, 8)
        return Exposure(self.authentication.across_hosts, tls, manager.plain_tcp, mode)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these returns."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def build_scheduler(settings: SiteSettings, policy: PolicySettings | None = None) -> Scheduler:
    """A core with the site's rules, for the manager or for a rehearsal.

    `policy`: another ordering than the site's. Raises ConfigError or PluginRefused.
    """
    return build_site_policy(settings, policy).scheduler()


def build_site_policy(settings: SiteSettings, policy: PolicySettings | None = None) -> SitePolicy:
    """The site's rules. `policy`: see `build_scheduler`. Raises ConfigError or PluginRefused."""
    from qpu_executor.manager.service.policies import build_policy
    from qpu_executor.manager.service.site_policy import SitePolicy

    chosen = policy or settings.policy
    return SitePolicy(
        classes=settings.classes(),
        default_class=settings.default_class,
        ordering=build_policy(chosen.kind, chosen.policy_settings()),
        kind=chosen.kind,
        fair_share=settings.fair_share_rules(),
        charging=settings.charging_table(),
        share_horizon_s=settings.fair_share.min_share_horizon_s,
        credits=settings.credits(),
        qpus={name: qpu.site_rules() for name, qpu in settings.qpus.items()},
        rights=settings.rights(),
        privacy=settings.privacy,
        retention=settings.retention.rules(),
        sessions=settings.sessions.rules(settings.manager.time_scale),
    )


def build_parts(
    settings: SiteSettings,
    *,
    embedded: bool,
    site_file: Path | None = None,
    restored: bool = False,
) -> Parts:
    """Build a manager. Raises ConfigError or PluginRefused; opens nothing.

    `site_file`: where its rules for the queue can be read again. `restored`: a backup was put
    in the store's place.
    """
    from qpu_executor.cli.server_files import check_site_file
    from qpu_executor.manager.auth.authentication import Authentication
    from qpu_executor.manager.auth.base import Place
    from qpu_executor.manager.auth.registry import build_authenticator
    from qpu_executor.manager.service.admission import Admission
    from qpu_executor.manager.service.clock import SystemClock
    from qpu_executor.manager.service.fleet import Fleet, Qpu
    from qpu_executor.manager.service.manager import Manager
    from qpu_executor.manager.service.tokens import known_token
    from qpu_executor.manager.store.sql import SqlStore
    from qpu_executor.qpus.checking import ProgramChecker
    from qpu_executor.qpus.registry import build_adapter
    from qpu_executor.settings import read_site

    where = settings.manager.store
    address = None if where is None else where.url or where.path
    if where is None or address is None or where.directory is None:
        raise OperatorError("the site file doesn't say where the store is", where="manager.store")
    store = SqlStore(
        address, password_file=where.password_file, lease_s=where.lease_s, restored=restored
    )
    fleet = Fleet(
        Qpu(
            name,
            qpu.kind,
            build_adapter(qpu.kind, name, qpu.adapter_settings()),
            rules=qpu.site_rules(),
        )
        for name, qpu in settings.qpus.items()
    )
    policy = build_site_policy(settings)

    def read_again() -> SitePolicy:
        assert site_file is not None
        read = read_site(site_file)
        check_site_file(site_file, read)
        return build_site_policy(read)

    checker = ProgramChecker()
    admission = Admission(
        fleet=fleet,
        classes=settings.classes(),
        default_class=settings.default_class,
        checker=checker,
        store=store,
        rights=policy.rights,
    )
    manager = Manager(
        store=store,
        fleet=fleet,
        admission=admission,
        scheduler=policy.scheduler(),
        policy=policy,
        read_policy=None if site_file is None else read_again,
        make_clock=lambda newest: SystemClock(newest, settings.manager.time_scale),
        health_every_s=settings.manager.health_every_s,
    )
    place = Place(
        find_token=lambda token_id: known_token(store, token_id), now=lambda: manager.clock.now()
    )
    authentication = Authentication(
        [
            build_authenticator(one.kind, one.own_settings(), place)
            for one in settings.manager.authentication
        ],
        settings.manager.roles(),
    )
    return Parts(
        settings, store, fleet, checker, manager, authentication, embedded, where.directory
    )
