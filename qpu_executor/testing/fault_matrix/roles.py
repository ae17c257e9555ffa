"""What a child of the nursery becomes: a manager, a controller, or somebody's client."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from pkgutil import iter_modules
from typing import Any, ParamSpec, TypeVar

from qpu_executor.testing.fault_matrix import clients, traps

P = ParamSpec("P")
R = TypeVar("R")

_IMPORTED = (
    "qpu_executor.cli.main",
    "qpu_executor.cli.serve",
    "qpu_executor.cli.server_parts",
    "qpu_executor.manager.api.app",
    "qpu_executor.manager.api.listening",
    "qpu_executor.manager.service.manager",
    "qpu_executor.manager.store.sql",
    "qpu_executor.programs.device_rules",
    "qpu_executor.qpus.checking",
    "qpu_executor.qpus.pasqal_controller.adapter",
    "qpu_executor.testing.controller.__main__",
    "alembic.command",
    "psycopg",
    "uvicorn.protocols.http.httptools_impl",
)
_MAY_BE_MISSING = ("psycopg",)

ASK_AGAIN_S = (0.05, 0.1, 0.2)
"""A history is over in seconds: unknown chunks are asked about sooner than in service."""


def import_everything() -> None:
    """Before the first fork: no thread is left behind."""
    import qpu_executor.cli as cli

    for name in (*_IMPORTED, *(f"{cli.__name__}.{one.name}" for one in iter_modules(cli.__path__))):
        try:
            importlib.import_module(name)
        except ImportError:
            if name not in _MAY_BE_MISSING:
                raise
    from qpu_executor.programs.device_rules import check
    from qpu_executor.programs.devices import device_json

    check(clients.program(), device_json("AnalogDevice"))


def manager(arguments: dict[str, Any]) -> None:
    """`qpu serve` on the site file `site`. `trap`, `mutant`: see `traps`."""
    from qpu_executor.cli.main import main
    from qpu_executor.manager.service import dispatcher
    from qpu_executor.qpus.workers import WorkerPool

    WorkerPool.run = _run_here  # type: ignore[method-assign]
    dispatcher.ASK_AGAIN_S = ASK_AGAIN_S  # type: ignore[assignment]
    if arguments.get("trap") is not None:
        traps.lay(traps.Trap(**arguments["trap"]))
    if arguments.get("mutant") is not None:
        traps.MUTANTS[arguments["mutant"]]()
    main(["serve", "--site", arguments["site"], "--ready-fd", str(os.dup(1))])


async def _run_here(
    self: object,
    function: Callable[P, R],
    timeout_s: float | None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    return await asyncio.to_thread(function, *args, **kwargs)


def controller(arguments: dict[str, Any]) -> None:
    """The stand-in's own command with these `options`."""
    from qpu_executor.testing.controller.__main__ import main

    sys.argv = ["controller", *arguments["options"]]
    main()


ROLES: dict[str, Callable[[dict[str, Any]], object]] = {
    "manager": manager,
    "controller": controller,
    "client": clients.run,
}
