"""The verb `qpu doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption
from qpu_executor.cli.doctor.finding import anything_wrong
from qpu_executor.cli.doctor.report import document, line, summary
from qpu_executor.cli.doctor.running import abandoned, leave, run_checks
from qpu_executor.errors import ConfigError

WRONG = 1
"""The exit code where anything is wrong."""


def doctor(
    program: Annotated[
        list[Path] | None,
        typer.Option(
            help="A sequence or a device file: compare its device with the manager's; may be "
            "repeated."
        ),
    ] = None,
    qpu: Annotated[
        str | None, typer.Option(help="Compare with this QPU's device, whatever its name is.")
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(help="For operators: check this site file and the host it is on."),
    ] = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a set-up end to end, and say what to type for each thing that is wrong."""
    if site is not None:
        if program or qpu or manager:
            raise ConfigError(
                "--site checks the host of a manager; the other options ask a manager",
                next_step="qpu doctor --site FILE, and then qpu doctor --manager URL",
            )
        from qpu_executor.cli.doctor.site import SiteSetup

        checks = SiteSetup(site).checks()
    else:
        from qpu_executor.cli.doctor.user import UserSetup

        checks = UserSetup(os.environ, manager, tuple(program or ()), qpu).checks()
    found = []
    for one in run_checks(checks):
        found.append(one)
        if not as_json:
            print(line(one), flush=True)
    print(document(found) if as_json else f"\n{summary(found)}")
    code = WRONG if anything_wrong(found) else 0
    if abandoned():
        leave(code)
    sys.exit(code)
