"""`qpu farm serve`: an emulator farm as a process of its own, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qpu_executor.farm.config import FarmConfig

farm = typer.Typer(
    name="farm",
    help="Emulator farms: emulation on Parsl or Dask, for managers elsewhere.",
    no_args_is_help=True,
)


@farm.command("serve")
def serve(
    config: Annotated[Path, typer.Option(help="The farm's file (see configs/farm.yaml).")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run an emulator farm."""
    from qpu_executor.farm.config import read_config
    from qpu_executor.settings.safe_files import refuse_writable_by_others

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    read = read_config(config)
    refuse_writable_by_others(config, "farm's file")
    asyncio.run(_serve(read))


async def _serve(config: FarmConfig) -> None:
    from qpu_executor.farm.serving import running_farm

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_farm(config) as url:
        print(f"qpu: farm on {url} (stop with Ctrl-C)", flush=True)
        await stop.wait()
