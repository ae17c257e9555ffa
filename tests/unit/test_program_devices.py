import json
import sys

import pulser
import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.programs.devices import device_json


@pytest.mark.parametrize("name", ["AnalogDevice", "DigitalAnalogDevice", "MockDevice"])
def test_a_device_is_found_by_name(name):
    assert pulser.abstract_repr.deserialize_device(device_json(name)) == getattr(pulser, name)


def test_overrides_replace_fields():
    assert json.loads(device_json("AnalogDevice", {"max_runs": 77}))["max_runs"] == 77


def test_a_typo_names_the_nearest_device():
    with pytest.raises(ConfigError, match="did you mean 'AnalogDevice'"):
        device_json("AnalogDevcie")


def test_a_wrong_override_names_the_field():
    with pytest.raises(ConfigError, match="did you mean 'max_runs'"):
        device_json("AnalogDevice", {"max_run": 1})
    with pytest.raises(ConfigError, match="max_runs"):
        device_json("AnalogDevice", {"max_runs": -1})


def test_a_device_is_read_from_a_file(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(device_json("AnalogDevice", {"name": "own", "max_atom_num": 7}))
    found = json.loads(device_json(str(path), {"max_runs": 5}))
    assert (found["name"], found["max_atom_num"], found["max_runs"]) == ("own", 7, 5)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"name": "x"}'])
def test_a_file_without_a_device_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        device_json(str(path))
    assert caught.value.where == str(path)


def test_without_pulser_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pulser", None)
    with pytest.raises(ConfigError, match=r"pip install 'qpu-executor\[pulser\]'") as caught:
        device_json("AnalogDevice")
    assert "\n" not in str(caught.value)
