"""A private PostgreSQL server: its own files and socket; a system's server is not touched.

PostgreSQL refuses to run as root: started by root, it runs as the user `postgres`.
It listens on a Unix socket alone. Its commits don't wait for the disk, which loses
nothing when its processes are killed; only a machine that crashes would. It ends with the
process that started it, also where that is killed: `postgres_watch` sees to it.
"""

from __future__ import annotations

import itertools
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

USER = "postgres"
"""The database's user, and whom the server runs as where root starts it."""

_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
}


class Postgres:
    """Start with `start`, end with `close`. `password`: what its clients have to prove.

    `directory` is short (the socket lies in it), and everybody may pass through it.
    """

    def __init__(self, password: str | None = None) -> None:
        self._password = password
        self.directory = Path(tempfile.mkdtemp(prefix="qpu-pg-"))
        self._data = self.directory / "data"
        self._numbers = itertools.count(1)
        self._watch: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        """True if there is a PostgreSQL to start."""
        return _programs() is not None

    @property
    def log(self) -> str:
        """What the server logged."""
        return (self.directory / "log").read_text()

    def start(self) -> None:
        """Start it, with the data that it has; returns when it answers. Raises RuntimeError."""
        if self._watch is None:
            watch = (sys.executable, "-m", "qpu_executor.testing.postgres_watch")
            self._watch = subprocess.Popen(  # noqa: S603
                [*watch, str(os.getpid()), str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # what is meant for the owner's group isn't for it
            )
        if not self._data.exists():
            self._make()
        options = {**_OPTIONS, "unix_socket_directories": str(self.directory)}
        given = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        log = str(self.directory / "log")
        server = ("-D", str(self._data), "-l", log, "-o", given)
        self._run("pg_ctl", "start", "-w", "-t", "60", *server)

    def stop(self) -> None:
        """End it in good order, but without waiting for its clients; `start` starts it again."""
        if _server(self._data) is not None:
            self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self._data))

    def kill(self) -> None:
        """kill -9 all of its processes; `start` starts it again."""
        kill_server(self.directory)

    def freeze(self) -> None:
        """Stop all of its processes where they are: it takes connections and never answers."""
        for pid in _processes(self._data):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in _processes(self._data):
            os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its files."""
        remove_server(self.directory)
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait()
            self._watch = None

    def new_database(self) -> str:
        """The URL of a database that has nothing in it. It holds no password."""
        name = f"qpu_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self.directory}"

    @property
    def socket(self) -> Path:
        """The path of the socket that it listens on."""
        return self.directory / ".s.PGSQL.5432"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[str, ...]]:
        """Run a statement as an administrator; its rows as text."""
        connection = ("-h", str(self.directory), "-U", USER, "-d", database)
        told = self._run("psql", *connection, "-X", "-q", "-A", "-t", "-F", "\t", "-c", statement)
        return [tuple(line.split("\t")) for line in told.splitlines()]

    def command(self, program: str, *arguments: str, database: str) -> str:
        """Run one of PostgreSQL's own programs (`pg_dump`) on a database; what it said."""
        return self._run(program, "-h", str(self.directory), "-U", USER, "-d", database, *arguments)

    def _make(self) -> None:
        self.directory.chmod(0o755)
        proof = ["--auth=trust"]
        if self._password is not None:
            file = self.directory / "administrator"
            file.write_text(self._password)
            proof = ["--auth=scram-sha-256", f"--pwfile={file}"]
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run("initdb", *proof, "-U", USER, "-E", "UTF8", "-N", "-D", str(self._data))

    def _run(self, program: str, *arguments: str) -> str:
        programs = _programs()
        if programs is None:
            raise RuntimeError("PostgreSQL isn't installed: apt-get install postgresql")
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if self._password is not None:
            environment["PGPASSWORD"] = self._password
        root = os.geteuid() == 0
        # Files: the server inherits what it says on, and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(  # noqa: S603
                [programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=environment,
                cwd="/",
                user=USER if root else None,
                group=USER if root else None,
                extra_groups=[] if root else None,
                check=False,
            )
            out.seek(0)
            errors.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {errors.read().strip() or out.read()}")
            return out.read()


def kill_server(directory: Path) -> None:
    """kill -9 all processes of the server whose files these are, if it runs."""
    data = directory / "data"
    ends = []
    for pid in _processes(data):
        try:
            ends.append(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
        signal.pidfd_send_signal(ends[-1], signal.SIGKILL)
    for end in ends:
        _wait_for_end(end)
        os.close(end)
    # Its locks name a process that may not be reaped yet, and so seems to be alive.
    for lock in (data / "postmaster.pid", *directory.glob(".s.PGSQL.*")):
        lock.unlink(missing_ok=True)


def remove_server(directory: Path) -> None:
    """The same, and remove its files."""
    kill_server(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _processes(data: Path) -> list[int]:
    server = _server(data)
    if server is None:
        return []
    try:
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    except FileNotFoundError:  # somebody else has ended it
        return []
    return [server, *map(int, children)]


def _server(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None


def _wait_for_end(pidfd: int) -> None:
    if not select.select([pidfd], [], [], 30)[0]:
        raise RuntimeError("PostgreSQL doesn't end")


def _programs() -> Path | None:
    """Where PostgreSQL's programs are: on the PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    newest = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3]
    )
    return newest[-1].parent if newest else None
