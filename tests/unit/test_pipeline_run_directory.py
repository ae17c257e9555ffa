"""Run directories and kept results: whole or absent, one process at a time, found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError, StepFailed, StoreError
from qpu_executor.pipelines import run_directory
from qpu_executor.pipelines.packing import Kept, Packed, find_kept, keep, pack, unpack
from qpu_executor.pipelines.run_directory import RunDirectory, RunRecord

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def make(runs: Path, name: str = "demo", at: datetime = NOW, short_id: str = "abc") -> RunDirectory:
    record = RunRecord(
        run="",
        name=name,
        pipeline=f"/p/{name}.yaml",
        seed=1,
        inputs={"n": 2},
        engine="parsl",
        profile="default",
        manager=None,
        started_at=at,
    )
    return run_directory.create(runs, record, "name: demo\n", now=at, short_id=short_id)


def test_directory_is_named_after_pipeline_time_and_id(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert made.path.name == "demo-20261122T100000Z-abc"
    assert made.record.run == made.path.name
    assert (made.path / "pipeline.yaml").read_text() == "name: demo\n"
    made.close()


def test_record_survives_closing_and_reopening(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.record.state = "failed"
    made.save()
    made.close()
    again = run_directory.reopen(made.path)
    assert again.record == made.record
    again.close()


def test_second_process_is_refused_while_the_first_works(tmp_path: Path) -> None:
    made = make(tmp_path)
    with pytest.raises(ConfigError, match="another process is working on this run"):
        run_directory.reopen(made.path)
    made.close()
    run_directory.reopen(made.path).close()


def test_newest_run_of_the_pipeline_is_found(tmp_path: Path) -> None:
    make(tmp_path, at=NOW, short_id="a").close()
    newest = make(tmp_path, at=NOW + timedelta(hours=1), short_id="b")
    newest.close()
    make(tmp_path, name="other", at=NOW + timedelta(hours=2)).close()
    assert run_directory.find(tmp_path, "", Path("/p/demo.yaml")) == newest.path
    assert run_directory.find(tmp_path, "", None).name.startswith("other-")


def test_run_is_found_by_directory_and_by_name(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.close()
    assert run_directory.find(tmp_path, made.path.name, None) == made.path
    assert run_directory.find(Path("elsewhere"), str(made.path), None) == made.path


def test_unknown_run_names_the_nearest(tmp_path: Path) -> None:
    make(tmp_path).close()
    with pytest.raises(ConfigError, match="did you mean 'demo-20261122T100000Z-abc'"):
        run_directory.find(tmp_path, "demo-20261122T100000Z-abd", None)
    with pytest.raises(ConfigError, match="there is no run of"):
        run_directory.find(tmp_path / "none", "", Path("/p/x.yaml"))


def test_damaged_and_newer_records_are_refused(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.close()
    made.record.version = 2
    made.save()
    with pytest.raises(ConfigError, match="newer version"):
        run_directory.reopen(made.path)
    (made.path / "run.json").write_text('{"version": 1')
    with pytest.raises(ConfigError, match="not the record of a run"):
        run_directory.reopen(made.path)


def test_kept_result_is_found_by_its_key_only(tmp_path: Path) -> None:
    file = tmp_path / "results" / "s" / "0.pickle"
    keep(file, pack({"a": [1, 2]}, "s"), "run/s/0/x")
    kept = find_kept(file, "run/s/0/x")
    assert kept == Kept(str(file))
    assert unpack([kept, pack(3, "s"), 4]) == [{"a": [1, 2]}, 3, 4]
    assert find_kept(file, "run/s/0/y") is None
    assert find_kept(tmp_path / "nothing", "k") is None
    assert [path.name for path in file.parent.iterdir()] == ["0.pickle"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_damaged_kept_result_counts_as_none(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "0.pickle"
    keep(file, pack(list(range(100)), "s"), "k")
    raw = bytearray(file.read_bytes())
    if damage == "cut":
        raw = raw[:-5]
    elif damage == "flip":
        raw[-3] ^= 1
    elif damage == "empty":
        raw = bytearray()
    else:
        raw = bytearray(b"something else\n\n\n")
    file.write_bytes(raw)
    assert find_kept(file, "k") is None
    with pytest.raises(StoreError):
        unpack(Kept(str(file)))


class Evil:
    """Pickles, and raises when it is read back."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("value", [Evil(), lambda: 0])
def test_result_that_does_not_make_the_round_trip_is_the_steps_error(value: object) -> None:
    with pytest.raises(StepFailed, match=r"step s: the result .* can't be sent between processes"):
        pack(value, "step s")


def test_packed_values_are_plain_bytes() -> None:
    packed = pack((1, "a"), "s")
    assert isinstance(packed, Packed)
    assert unpack(packed) == (1, "a")
