"""Profiles: found by name or path, checked with positions, unknown ones explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.profiles import Profile, check_engine, load_profile

SHIPPED = Path(__file__).parents[2] / "configs" / "profiles"


def test_without_a_profile_the_defaults_hold() -> None:
    assert load_profile(None, environment={}) == ("default", Profile())


def test_shipped_laptop_profile_is_the_default() -> None:
    name, profile = load_profile(str(SHIPPED / "laptop.yaml"), environment={})
    assert name == "laptop"
    assert profile == Profile()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_profile_loads(path: Path) -> None:
    assert load_profile(str(path), environment={})[0] == path.stem


def test_name_is_looked_up_and_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "home" / "qpu-executor" / "profiles"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text("engine: dask\nclassical: {workers: 5}\n")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "home"), "QPU_PROFILE": "mine"}
    name, profile = load_profile(None, environment=environment)
    assert (name, profile.engine, profile.classical.workers) == ("mine", "dask", 5)
    with pytest.raises(ConfigError) as caught:
        load_profile("mne", environment=environment)
    assert "--profile mne: there is no such profile; did you mean 'mine'?" in str(caught.value)
    assert str(place) in str(caught.value)


def test_missing_file_and_wrong_variable_say_where_they_came_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--profile \./x\.yaml: there is no such file"):
        load_profile("./x.yaml", environment={})
    with pytest.raises(ConfigError, match=r"\$QPU_PROFILE nope: there is no such profile"):
        load_profile(None, environment={"QPU_PROFILE": "nope", "XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("enginee: dask\n", ":1:1: enginee: unknown key; did you mean 'engine'?"),
        ("manager: null\nengine: dsk\n", ":2:1: engine: 'dsk' is not allowed"),
        ("classical: {wokers: 3}\n", ":1:13: classical.wokers: unknown key; did you mean 'work"),
        ("classical: {workers: 0}\n", ":1:13: classical.workers: 0 is not allowed"),
        ("classical: {workers: many}\n", ":1:13: classical.workers: 'many' is not allowed"),
        ("", ":1:1: the file is empty"),
    ],
)
def test_mistake_in_a_profile_names_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path), environment={})
    assert said in str(caught.value)


def test_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'parsl'"):
        check_engine("parsel")
    assert check_engine("dask") == "dask"
