"""A private Slurm on this host: its own munged, slurmctld and two slurmd, in one directory.

Nothing of a system's Slurm or MUNGE is touched. Needs root, so that jobs of other users run.
Works with Slurm 22.05 and later. Prolog, Epilog and TaskProlog are scripts that the test writes.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpu_executor.testing.munged import Munged
from qpu_executor.testing.ports import free_port

CONFIGURATION = """
ClusterName=qtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=slurm
SlurmdUser=root
{loopback}
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire=10
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/run/slurmctld.pid
SlurmdPidFile={dir}/run/slurmd.%n.pid
SlurmctldLogFile={dir}/run/slurmctld.log
SlurmdLogFile={dir}/run/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
Prolog={dir}/hooks/prolog
Epilog={dir}/hooks/epilog
TaskProlog={dir}/hooks/task_prolog
PrologFlags=Alloc
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2,requeue_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
InactiveLimit=0
KillWait=2
Waittime=0
MessageTimeout=30
Licenses=qpu:8
{nodes}
PartitionName=quantum Nodes=q[1-2] Default=YES MaxTime=INFINITE DefaultTime=01:00:00 State=UP
"""
"""Measured on Debian 12 and 13: no cgroups, no accounting, all on loopback where that works."""

NODES = ("q1", "q2")
"""Two: the components of a heterogeneous job share no node."""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
LONGEST_S = 90.0
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class SlurmCluster:
    """Start with `start`, end with `close`. `directory` is short, and everybody may pass."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="qpu-slurm-"))
        self._munged = Munged()
        self._daemons: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def missing() -> list[str]:
        """Programs that aren't installed."""
        return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]

    def hook(self, name: str, text: str) -> None:
        """Write `prolog`, `epilog`, `task_prolog` or another script, at `hooks/<name>`."""
        file = self.directory / "hooks" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def start(self) -> None:
        """Start it, with the hooks that were written; returns when its nodes take jobs.

        Raises RuntimeError with what its daemons said.
        """
        directory = self.directory
        directory.chmod(0o755)
        for name in ("state", "run", "spool", "hooks", "jobs"):
            (directory / name).mkdir(exist_ok=True)
        for name in ("prolog", "epilog", "task_prolog"):
            if not (directory / "hooks" / name).exists():
                self.hook(name, "#!/bin/sh\nexit 0\n")
        (directory / "jobs").chmod(0o1777)
        shutil.chown(directory / "state", "slurm")
        shutil.chown(directory / "run", "slurm")
        self._munged.start()
        (directory / "slurm.conf").write_text(self._configuration())
        # slurmd loads a cgroup plugin though nothing uses it; what it may be called differs.
        version = self.run("slurmd", "-V").split()[-1]
        plugin = "cgroup/v1" if version < "23.11" else "disabled"
        (directory / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
        self._spawn("slurmctld", "-D", "-f", str(directory / "slurm.conf"))
        for node in NODES:
            (directory / "spool" / node).mkdir()
            self._spawn("slurmd", "-D", "-N", node, "-f", str(directory / "slurm.conf"))
        deadline = time.monotonic() + LONGEST_S
        while self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split() != ["idle", "idle"]:
            ended = [one for one in self._daemons if one.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"Slurm didn't start: {self.log()}")

    def run(self, *words: str, check: bool = True, user: str | None = None, **environ: str) -> str:
        """Run one of Slurm's commands; its output. `user`: as whom; root by default.

        Raises RuntimeError with what it said if it fails, unless not `check`.
        """
        more: dict[str, Any] = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            more = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        done = subprocess.run(  # noqa: S603
            words,
            env=self._environ(environ),
            cwd=self.directory / "jobs" if (self.directory / "jobs").exists() else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
            **more,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()} {done.stdout.strip()}")
        return str(done.stdout)

    def submit(self, script: str, user: str, *options: str) -> int:
        """Submit a job's script as a user; the job's id."""
        with tempfile.NamedTemporaryFile(
            "w", dir=self.directory / "jobs", suffix=".sh", delete=False
        ) as file:
            file.write(script)
        Path(file.name).chmod(0o755)
        said = self.run("sbatch", "--parsable", *options, file.name, user=user)
        return int(said.strip().splitlines()[-1].split(";")[0])

    def job(self, job_id: int) -> dict[str, str]:
        """What Slurm says of a job: `JobState`, `Restarts`, ...; nothing once it forgot it."""
        said = self.run("scontrol", "-o", "show", "job", str(job_id), check=False)
        return dict(one.split("=", 1) for one in said.split() if "=" in one)

    def log(self) -> str:
        """The end of what its daemons logged."""
        found = sorted((self.directory / "run").glob("*.log"))
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in found)

    def close(self) -> None:
        """Cancel its jobs, end its daemons and remove its files."""
        if self._daemons:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                ids = self.run("squeue", "-h", "-o", "%A").split()
                if ids:
                    self.run("scancel", *ids)
                deadline = time.monotonic() + 20
                while ids and time.monotonic() < deadline:
                    ids = self.run("squeue", "-h", "-o", "%A").split()
        for daemon in self._daemons:
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        self._munged.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self, *words: str) -> None:
        with (self.directory / "run" / f"{words[0]}{len(self._daemons)}.out.log").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(  # noqa: S603
                    words,
                    env=self._environ({}),
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": PATH,
            "SLURM_CONF": str(self.directory / "slurm.conf"),
            "LANG": "C.UTF-8",
            **more,
        }

    def _configuration(self) -> str:
        host = socket.gethostname().split(".")[0]
        # Only where the host's name is exactly 127.0.0.1: elsewhere srun would wait for ever.
        try:
            only = socket.gethostbyname(socket.gethostname()) == "127.0.0.1"
        except OSError:
            only = False
        loopback = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if only else ""
        return CONFIGURATION.format(
            host=host,
            dir=self.directory,
            munge=self._munged.socket,
            loopback=loopback,
            ctld=free_port(),
            nodes="\n".join(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 "
                f"Port={free_port()} CPUs=8 RealMemory=4096"
                for node in NODES
            ),
        )
