"""Where a manager would listen, and whether callers on other hosts can prove who they are."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor import munge
from qpu_executor.cli.doctor.finding import Finding, of_error, ok
from qpu_executor.cli.doctor.sight import look
from qpu_executor.errors import ConfigError, QpuExecutorError
from qpu_executor.manager.api.listening import Exposure, Tls, open_sockets, remover_of
from qpu_executor.manager.auth.base import Place
from qpu_executor.manager.auth.registry import build_authenticator
from qpu_executor.settings import SiteSettings


def listening(address: str, settings: SiteSettings) -> Iterable[Finding]:
    """One address: free, or the manager's own already."""
    try:
        sockets, urls = open_sockets([address], _exposure(settings))
    except ConfigError as error:
        yield _taken(address, error)
        return
    for one in sockets:
        remover_of(one, private=False)()
    yield ok("listen", f"{urls[0]} is free")


def munged(settings: SiteSettings) -> Iterable[Finding]:
    """munged, where the site takes its credentials: makes one and reads it."""
    wanted = [one for one in settings.manager.authentication if one.kind == "munge"]
    if not wanted:
        yield ok("munge", "the site doesn't take MUNGE's credentials")
        return
    socket = wanted[0].own_settings().get("socket")
    found = munge.decode(munge.encode(socket=socket), socket=socket)
    yield ok("munge", f"munged knows uid {found.uid}")


def _taken(address: str, error: ConfigError) -> Finding:
    """Somebody listens there, or nobody may."""
    try:
        seen = look(address)
    except QpuExecutorError:
        return of_error("listen", error)
    return ok("listen", f"a manager ({seen.hello.version}) is at {address} already")


def _exposure(settings: SiteSettings) -> Exposure:
    """What the site's proofs and files allow, as `qpu serve` finds it out."""
    place = Place(find_token=_no_token, now=lambda: 0)
    proofs = [
        build_authenticator(one.kind, one.own_settings(), place)
        for one in settings.manager.authentication
    ]
    tls = settings.manager.tls
    return Exposure(
        any(one.across_hosts for one in proofs),
        None if tls is None else Tls(tls.certificate, tls.key),
        settings.manager.plain_tcp,
    )


async def _no_token(token_id: str) -> None:
    """Nobody is authenticated here."""
