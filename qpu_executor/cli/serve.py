"""`qpu serve`: the manager as a process, embedded or served; they differ in settings only.

Here the parts are wired: store, QPUs, core, manager, HTTP. The process ends in
good order on SIGTERM and SIGINT, when its owner ends (embedded), or when the
manager fails (exit code 1: what was accepted is in the store).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from qpu_executor.cli.collector import sparing_the_queue
from qpu_executor.cli.server_files import check_password_file, check_site_file, check_tls, placed
from qpu_executor.cli.server_parts import Parts, build_parts, missing_server_extra
from qpu_executor.errors import ConfigError, OperatorError, QpuExecutorError
from qpu_executor.manager.service.clock_watch import watch_clock
from qpu_executor.settings import SiteSettings, StoreSettings, embedded_site, read_site

log = logging.getLogger("qpu_executor.serve")


def serve(
    site: Annotated[Path | None, typer.Option(help="Site file. Default: one emulated QPU.")] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="Address to listen on, instead of the site file's; may be repeated."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where the store lives, instead of the site file's place.")
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="Wait while another manager has the store.")
    ] = False,
    restored: Annotated[
        bool, typer.Option("--restored", help="A backup was put in the store's place.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    embedded: Annotated[bool, typer.Option(hidden=True)] = False,
    socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    owner_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    owner_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the QPU resource manager."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("asyncio", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    tell = _teller(ready_fd)
    try:
        missing_server_extra()
        settings = _settings(site, listen, directory, socket, standby)
        parts = build_parts(settings, embedded=embedded, site_file=site, restored=restored)
        asyncio.run(_serve(parts, tell, owner_fd, owner_pid))
    except QpuExecutorError as error:
        if ready_fd is not None:
            log.error("%s", error)
        tell({"error": _fields(error)})
        raise


def _settings(
    site: Path | None,
    listen: list[str] | None,
    directory: Path | None,
    socket: Path | None,
    standby: bool,
) -> SiteSettings:
    """The site with what the command line says instead."""
    settings = embedded_site() if site is None else read_site(site)
    manager = settings.manager
    if site is not None:
        check_site_file(site, settings)
    if manager.tls is not None:
        check_tls(manager.tls)
    changes: dict[str, Any] = {}
    if socket is not None:
        changes["listen"] = [f"unix://{socket.absolute()}"]
    if listen:
        changes["listen"] = listen
    store = manager.store or StoreSettings()
    if directory is not None:
        store = StoreSettings(path=directory.absolute() / "store.sqlite", standby=store.standby)
    store = placed(store)
    if store.password_file is not None:
        check_password_file(store.password_file)
    changes["store"] = store.model_copy(update={"standby": standby or store.standby})
    return settings.model_copy(update={"manager": manager.model_copy(update=changes)})


async def _serve(
    parts: Parts,
    tell: Callable[[dict[str, Any]], None],
    owner_fd: int | None,
    owner_pid: int | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _watch_owner(loop, stop, owner_fd, owner_pid)
    live = parts.manager.live
    if not await _first_in_line(parts, stop):
        return
    async with parts.running() as urls:
        clock = asyncio.create_task(watch_clock(parts.manager.clock))
        with sparing_the_queue(lambda: len(live)):
            tell({"url": urls[0], "pid": os.getpid()})
            log.info("listening on %s", ", ".join(urls))
            waiters = [
                asyncio.create_task(stop.wait()),
                asyncio.create_task(parts.manager.loop.ended()),
            ]
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            for waiter in waiters:
                waiter.cancel()
        clock.cancel()
        log.info("stopping")
    if parts.manager.loop.failure is not None:
        raise parts.manager.loop.failure


async def _first_in_line(parts: Parts, stop: asyncio.Event) -> bool:
    """As a standby, wait for the store. False if this process is to stop before."""
    store = parts.settings.manager.store
    if store is None or not store.standby:
        return True

    def told(why: str) -> None:
        log.info("standby: %s", why)

    # A second or two to load, and nobody waits for it yet.
    importlib.import_module("qpu_executor.manager.api.app")

    waiting = asyncio.create_task(parts.store.stand_by(told))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if waiting.done() and not stop.is_set():
        await waiting
        log.info("standby: this manager takes over")
        return True
    waiting.cancel()
    await asyncio.wait([waiting])
    await parts.store.close()
    return False


def _watch_owner(
    loop: asyncio.AbstractEventLoop,
    stop: asyncio.Event,
    owner_fd: int | None,
    owner_pid: int | None,
) -> None:
    """Stop when the owner has ended: its pipe closes, or its process does.

    Both, since children that the owner forked hold the pipe's other end too.
    """

    def gone(fd: int) -> None:
        loop.remove_reader(fd)
        stop.set()

    if owner_fd is not None:
        loop.add_reader(owner_fd, gone, owner_fd)
    if owner_pid is not None and hasattr(os, "pidfd_open"):
        try:
            pidfd = os.pidfd_open(owner_pid)
        except OSError:
            stop.set()
            return
        loop.add_reader(pidfd, gone, pidfd)


def _teller(ready_fd: int | None) -> Callable[[dict[str, Any]], None]:
    """Says one JSON line to whoever started this process; a person reads the log instead."""
    told = False

    def tell(message: dict[str, Any]) -> None:
        nonlocal told
        if told:
            return
        told = True
        if ready_fd is None:
            if "url" in message:
                print(f"qpu: serving on {message['url']} (stop with Ctrl-C)", flush=True)
            return
        with os.fdopen(ready_fd, "w") as pipe:
            pipe.write(json.dumps(message) + "\n")

    return tell


def _fields(error: QpuExecutorError) -> dict[str, Any]:
    """An error as the problem document that the owner's client reads."""
    return {
        "title": "The manager didn't start",
        "status": 500 if isinstance(error, OperatorError) else 400,
        "detail": error.message,
        "code": error.code if not isinstance(error, ConfigError) else ConfigError.code,
        "where": error.where,
        "expected": error.expected,
        "next_step": error.next_step,
        "permanent": error.permanent,
    }
