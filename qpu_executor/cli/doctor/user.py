"""The checks of a user's set-up, in the order in which things have to work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from qpu_executor import installed
from qpu_executor.cli.doctor import credentials, devices, environment, host, manager, packages
from qpu_executor.cli.doctor.finding import Check, Finding
from qpu_executor.cli.doctor.sight import LOOK_S, Program, Sight, look
from qpu_executor.client.address import parse_address
from qpu_executor.client.embedded import START_S
from qpu_executor.client.embedded_places import state_directory
from qpu_executor.errors import ConfigError

SPARE_S = 10.0
"""What a look may take on top of its own limit, so that its own words are heard."""


@dataclass
class UserSetup:
    """What is examined. `named`: the manager's address from the command line, if any.

    `seen`: the manager, once it has been looked at; None: it couldn't be.
    """

    environment: Mapping[str, str]
    named: str | None = None
    files: tuple[Path, ...] = ()
    qpu: str | None = None
    seen: Sight | None = None
    programs: list[Program] = field(default_factory=list)

    @property
    def address(self) -> str | None:
        """The manager's address; None: an embedded one."""
        return self.named or self.environment.get(environment.MANAGER) or None

    def checks(self) -> list[Check]:
        """All of them. What needs the manager says nothing where there is none."""
        mine = installed.versions()
        found = [
            Check("python", lambda: [packages.python_here(mine["python"])]),
            Check("pulser", lambda: [packages.pulser_here(mine)]),
            Check(
                "emulators",
                lambda: [packages.emulators_here(mine, embedded=self.address is None)],
            ),
            Check("parsl", lambda: [self._scripts(mine)]),
            Check("state", lambda: host.directory("state", state_directory())),
            Check("address", self._address),
            Check("token", lambda: [credentials.token(self.environment)]),
            Check("munge", self._munge),
            Check("slurm", lambda: environment.slurm_job(self.environment, time.time())),
            Check("qrmi", lambda: environment.qrmi_job(self.environment)),
        ]
        found += [Check("program", partial(self._read, path)) for path in self.files]
        limit_s = (LOOK_S if self.address else START_S + LOOK_S) + SPARE_S
        found.append(Check("manager", self._look, limit_s))
        found.append(Check("versions", self._of_the_manager, 60.0))
        return found

    def _address(self) -> Iterable[Finding]:
        if self.address is not None:
            where = "--manager" if self.named else f"${environment.MANAGER}"
            parse_address(self.address, where=where)
        return [environment.manager_named(self.named, self.environment)]

    def _scripts(self, mine: Mapping[str, str]) -> Finding:
        scripts = packages.HTEX_SCRIPTS
        directory = str(Path(sys.executable).parent)
        return packages.scripts_on_path(mine, host.on_path(scripts), directory)

    def _munge(self) -> Iterable[Finding]:
        try:
            address = None if self.address is None else parse_address(self.address)
        except ConfigError:  # said by the address's own check
            address = None
        local = address is None or address.socket_path is not None
        local = local or (address is not None and "//127.0.0.1" in address.url)
        has_token = any(self.environment.get(one) for one in ("QPU_TOKEN", "QPU_TOKEN_FILE"))
        return credentials.munge_here(self.environment, wanted=not local and not has_token)

    def _read(self, path: Path) -> Iterable[Finding]:
        self.programs.append(devices.read_file(path))
        return []

    def _look(self) -> Iterable[Finding]:
        self.seen = look(self.address, tuple(self.programs), self.qpu)
        yield manager.who_answers(self.seen)
        yield manager.clocks(self.seen)
        yield from manager.own_clock(self.seen)

    def _of_the_manager(self) -> Iterable[Finding]:
        seen = self.seen
        if seen is None:
            return
        emulated = any(qpu.emulated for qpu in seen.qpus)
        yield from packages.skew(installed.versions(), seen.hello.versions, emulated)
        yield from manager.qpus(seen)
        if packages.PULSER in installed.versions():
            yield from devices.readable(seen)
        for program in self.programs:
            yield from devices.drift(program, seen, self.qpu)
