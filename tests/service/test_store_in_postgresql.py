"""`qpu serve` with its store in PostgreSQL: the site file, passwords, doctor, a second manager."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.settings import parse_site
from qpu_executor.testing.postgres import Postgres
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {{listen}}
  store: {store}
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 10}}}}
qpus:
  emulator: {{{{kind: pulser-emulator, device: AnalogDevice, workers: 1}}}}
"""


def site(store: str) -> str:
    return SITE.format(store=store)


def qpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qpu_executor.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_journal_is_rehearsed_while_the_manager_runs(
    make_manager: Any, postgres: Postgres
) -> None:
    url = postgres.new_database()
    text = site(f"{{{{url: '{url}', directory: files}}}}")
    served = make_manager(site=text)
    served.start()
    with served.connect() as client:
        for seed in range(3):
            client.submit(to_program(small_sequence()), 20, seed=seed).result(timeout=120)
        replayed = qpu("replay", url, "--site", str(served._site), "--policy", "fifo")
    assert replayed.returncode == 0, replayed.stderr
    assert "Replay of" in replayed.stdout
    assert "fifo" in replayed.stdout
    nobody = qpu("replay", url + "_", "--site", str(served._site))
    assert nobody.returncode != 0
    assert "Traceback" not in nobody.stderr


def test_results_outlive_a_restart_and_a_second_manager_is_told_who_has_the_store(
    make_manager: Any, postgres: Postgres
) -> None:
    text = site(f"{{{{url: '{postgres.new_database()}', directory: files}}}}")
    served = make_manager(site=text)
    served.start()
    with served.connect() as client:
        task = client.submit(to_program(small_sequence()), 50, seed=3)
        counts = task.result(timeout=120).counts
        second = make_manager(site=text)
        second._site.write_text(text.format(listen=f'["unix://{second.directory}/m.sock"]'))
        refused = qpu("serve", "--site", str(second._site))
        assert refused.returncode == 1
        assert "the store is in use by process" in refused.stderr
        looked = qpu("doctor", "--site", str(second._site))
        assert "holds a store, in use by process" in looked.stdout
        served.kill()
        served.start()
        assert client.task(task.id).result(timeout=120).counts == counts
    assert served.stop() == 0
    assert not served.store.exists()


@pytest.fixture
def guarded() -> Iterator[Postgres]:
    """A PostgreSQL that asks for a password."""
    server = Postgres(password="s3cret word")
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_the_password_comes_from_a_file_that_nobody_else_can_read(
    make_manager: Any, guarded: Postgres, postgres: Postgres
) -> None:
    served = make_manager(
        site=site(f"{{{{url: '{guarded.new_database()}', password_file: password}}}}")
    )
    password = served.directory / "password"
    password.write_text("s3cret word\n")
    password.chmod(0o644)
    served._site.write_text(served._text.format(listen=f'["unix://{served.directory}/m.sock"]'))
    refused = qpu("serve", "--site", str(served._site))
    assert "others can read the password file" in refused.stderr
    password.chmod(0o600)
    password.write_text("another s3cret")
    refused = qpu("serve", "--site", str(served._site))
    assert "password authentication failed" in refused.stderr
    assert "s3cret" not in refused.stderr + qpu("doctor", "--site", str(served._site)).stdout
    password.write_text("s3cret word\n")
    served.start()
    with served.connect() as client:
        assert client.submit(to_program(small_sequence()), 5).result(timeout=120).shots == 5
    assert "s3cret" not in served.log


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("postgresql://ann:hush@db/store", "holds a password"),
        ("'postgresql://db/store?user=ann&password=hush'", "holds a password"),
        ("{url: 'postgresql://ann:hush@db:x/store', path: s}", "a store is one or the other"),
        ("mysql://ann:hush@db/store", "must begin with postgresql://"),
        ("{path: s, password_file: p}", "a file needs no password"),
        ("{url: 'postgresql://db/s', lease_s: 0}", "greater than or equal to 1"),
    ],
)
def test_a_store_that_can_not_be_is_refused_without_showing_a_password(
    store: str, said: str
) -> None:
    text = (
        SITE.replace("{listen}", "[http://127.0.0.1:0]").replace("{{{{", "{").replace("}}}}", "}")
    )
    with pytest.raises(ConfigError, match=said) as found:
        parse_site(text.replace("{store}", store).replace("{[", "[").replace("]}", "]"), "s.yaml")
    assert "hush" not in str(found.value)


def test_relative_paths_are_the_site_files(tmp_path: Path) -> None:
    from qpu_executor.settings import read_site

    file = tmp_path / "site.yaml"
    text = SITE.format(store="{{path: a/s.sqlite, directory: b}}").format(listen="[http://x]")
    file.write_text(text)
    store = read_site(file).manager.store
    assert store is not None
    assert (store.path, store.directory) == (tmp_path / "a/s.sqlite", tmp_path / "b")
