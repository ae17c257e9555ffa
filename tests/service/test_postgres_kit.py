"""The private PostgreSQL that tests start: it starts, is killed, and keeps what it had."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from qpu_executor.testing.postgres import Postgres


def test_what_was_committed_is_there_after_kill_9_and_after_a_stop(own_postgres: Postgres) -> None:
    database = own_postgres.new_database().partition("?")[0].rpartition("/")[2]
    own_postgres.sql("CREATE TABLE kept (n integer)", database)
    for n, end in ((1, own_postgres.kill), (2, own_postgres.stop)):
        own_postgres.sql(f"INSERT INTO kept VALUES ({n})", database)
        end()
        own_postgres.start()
    assert own_postgres.sql("SELECT n FROM kept ORDER BY n", database) == [("1",), ("2",)]


def test_two_databases_are_apart(postgres: Postgres) -> None:
    assert postgres.new_database() != postgres.new_database()


def test_it_ends_with_the_process_that_started_it_however_that_ends(postgres: Postgres) -> None:
    owner = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from qpu_executor.testing.postgres import Postgres as P; p = P(); p.start(); "
            "print(p.directory, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    directory = Path(owner.stdout.readline().strip())
    server = os.pidfd_open(int((directory / "data" / "postmaster.pid").read_text().split()[0]))
    owner.kill()
    owner.communicate()
    assert select.select([server], [], [], 60)[0], "it has ended"
    while directory.exists():
        select.select([], [], [], 0.01)
    assert postgres.sql("SELECT 1") == [("1",)], "another one's goes on"
