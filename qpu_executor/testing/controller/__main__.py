"""`python -m qpu_executor.testing.controller`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.qpus.emulation import Emulation
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.shot_source import ShotSource
from qpu_executor.qpus.simulated import build
from qpu_executor.testing.coins import Coins
from qpu_executor.testing.controller.faults import Faults
from qpu_executor.testing.controller.jobs import JobBook
from qpu_executor.testing.controller.kept_jobs import KeptJobs
from qpu_executor.testing.controller.ledger import ExecutionLedger
from qpu_executor.testing.controller.machine import ControllerMachine
from qpu_executor.testing.controller.server import StandInServer
from qpu_executor.testing.controller.whole_machine import WholeMachine


def main() -> None:
    """Serve until SIGTERM or SIGINT. The first line on stdout is `{"url": ...}`."""
    options = _options()
    asyncio.run(_serve(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m qpu_executor.testing.controller",
        description="A stand-in for Pasqal's QPU controller.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (it has no authentication)")
    add("--port", type=int, default=4300, help="0: any free one")
    add("--device", default="AnalogDevice", help="a Pulser device, or the path of a JSON file")
    add("--shot-s", type=float, default=0.2, help="seconds a shot takes")
    add("--setup-s", type=float, default=0.0, help="seconds before a job's first shot")
    add("--seed", type=int, default=0, help="of the counts")
    add("--coins", action="store_true", help="counts from coins instead of Pulser's emulator")
    add("--simulated", type=Path, help="JSON: settings of a simulated QPU; the machine is that one")
    add("--time-scale", type=float, default=1.0, help="of a simulated QPU: 60 is an hour a minute")
    add("--ledger", type=Path, help="file to which executions are appended")
    add("--jobs", type=Path, help="file in which jobs outlive the process")
    add("--scenario", type=Path, help='JSON: {"machine": {...}, "faults": [...]}')
    return parser.parse_args()


def _machine(options: argparse.Namespace) -> JobBook:
    ledger = ExecutionLedger(options.ledger)
    if options.simulated is not None:
        qpu = build("simulated", json.loads(options.simulated.read_text("utf-8")))
        clock = SystemClock(scale=options.time_scale)
        return WholeMachine(qpu, clock, options.simulated.parent, ledger, options.seed)
    source: ShotSource = Coins(options.device)
    if not options.coins:
        emulator = EmulatorSettings(device=options.device, workers=1)
        source = Emulation("controller", emulator)
    kept = None if options.jobs is None else KeptJobs(options.jobs)
    machine = ControllerMachine(source, ledger, options.seed, kept)
    machine.change({"shot_s": options.shot_s, "setup_s": options.setup_s})
    return machine


async def _serve(options: argparse.Namespace) -> None:
    machine = _machine(options)
    server = StandInServer(machine, Faults(options.seed))
    if options.scenario is not None:
        scenario: dict[str, Any] = json.loads(options.scenario.read_text("utf-8"))
        machine.change(scenario.get("machine", {}))
        server.faults.switch(scenario.get("faults", []))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url = await server.start(options.host, options.port)
    machine.ledger.started(len(machine.jobs))
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    main()
