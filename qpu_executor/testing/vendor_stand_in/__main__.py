"""Runs the stand-in until its standard input ends (see the package).

Prints its address in a line of its own once it listens.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from qpu_executor.programs.devices import device_json
from qpu_executor.testing.vendor_stand_in.exchange import Site
from qpu_executor.testing.vendor_stand_in.machine import Machine
from qpu_executor.testing.vendor_stand_in.server import StandInServer


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="vendor_stand_in", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: a free one")
    parser.add_argument("--ledger", type=Path, required=True, help="file of the jobs that it ran")
    parser.add_argument("--shot-s", type=float, default=0.001, help="seconds a shot takes")
    parser.add_argument("--seed", type=int, default=0, help="of the counts")
    parser.add_argument("--device", default="AnalogDevice", help="Pulser's name, or a .json file")
    given = parser.parse_args()
    machine = Machine(given.ledger, given.shot_s, given.seed)
    device = given.device
    text = Path(device).read_text("utf-8") if device.endswith(".json") else device_json(device)
    server = StandInServer(given.port, Site(machine, text))
    machine.start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(server.site.url + "\n")
    sys.stdout.flush()
    sys.stdin.read()  # until whoever started it ends


if __name__ == "__main__":
    main()
