"""The example that shows a production day: the shipped site file, and the script beside it."""

import csv
import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qpu_executor.programs.devices import device_json
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.registry import build_adapter
from qpu_executor.qpus.simulating import simulate
from qpu_executor.settings.site import read_site

ROOT = Path(__file__).parents[2]
SITE = ROOT / "configs" / "production-day.yaml"
SCRIPT = ROOT / "workflows" / "production_day" / "probe.py"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def probe():
    spec = importlib.util.spec_from_file_location("production_day_probe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def rows(probe):
    return [
        probe.Point(NOON + timedelta(hours=n), "m-0" if n < 3 else "m-1", right, 300)
        for n, right in enumerate((285, 270, 240, 287))
    ]


def test_the_site_s_machine_drifts_and_fails():
    settings = read_site(SITE)
    machine = settings.qpus["machine"]
    qpu = build_adapter(machine.kind, "machine", machine.adapter_settings())
    assert not qpu.capabilities.seeded
    assert qpu.capabilities.can_calibrate
    assert qpu.capabilities.shot_rate_hz < 5
    assert settings.manager.time_scale == 100


def test_an_ideal_device_reads_1_in_every_shot(probe):
    program = to_program(probe.pi_pulse())
    found = simulate(program, device_json("AnalogDevice"), 4).as_dict()
    assert found["1"] == pytest.approx(1.0, abs=1e-4)


def test_a_line_says_how_many_were_right_and_names_a_new_epoch(probe, rows):
    assert probe.line(rows[0], None) == "22 12:00   95.0%  " + "#" * 38 + "    m-0"
    assert probe.line(rows[1], rows[0]) == "22 13:00   90.0%  " + "#" * 36
    assert probe.line(rows[3], rows[2]).endswith("  m-1")


def test_what_was_found_is_written_and_drawn(probe, rows, tmp_path):
    probe.write_csv(tmp_path / "day.csv", rows)
    with (tmp_path / "day.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(one["epoch"], int(one["right"])) for one in found] == [
        (one.epoch, one.right) for one in rows
    ]
    assert datetime.fromisoformat(found[2]["at"]) == rows[2].at
    pytest.importorskip("matplotlib")
    probe.draw(tmp_path / "day.png", rows)
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")


def test_the_script_measures_a_served_machine(probe, make_manager, tmp_path, monkeypatch, capsys):
    text = SITE.read_text().replace("{", "{{").replace("}", "}}")
    text = text.replace("[http://127.0.0.1:8082]", "{listen}")
    text = text.replace("../runs/production-day/", "")
    monkeypatch.setenv("QPU_MANAGER", make_manager(site=text).start())
    options = ["--hours", "0.1", "--every-s", "120", "--shots", "60"]
    probe.main([*options, "--out", str(tmp_path / "out")])
    assert len(capsys.readouterr().out.splitlines()) == 3
    with (tmp_path / "out" / "production-day.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [one["shots"] for one in found] == ["60"] * 3
    # Nine in ten shots are right on this machine when it is fresh; a coin would give 90.
    assert 130 < sum(int(one["right"]) for one in found) < 180
    begun = [datetime.fromisoformat(one["at"]) for one in found]
    assert begun == sorted(begun)
