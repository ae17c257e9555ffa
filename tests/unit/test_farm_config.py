import re
from pathlib import Path

import pytest

from qpu_executor.errors import ConfigError, PluginRefused
from qpu_executor.farm import engines
from qpu_executor.farm.config import (
    DaskEngine,
    FarmConfig,
    LocalEngine,
    ParslEngine,
    read_config,
)
from qpu_executor.farm.server import make_app
from qpu_executor.qpus import emulator_farm
from qpu_executor.qpus.farm_protocol import FarmCapabilities, FarmHealth
from qpu_executor.qpus.farm_settings import FarmSettings
from qpu_executor.settings import read_site

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/qpus/farm.md").read_text("utf-8")


def written(tmp_path, text):
    path = tmp_path / "farm.yaml"
    path.write_text(text)
    return path


def test_the_example_is_a_farm_and_its_site_finds_it():
    farm = read_config(ROOT / "configs/farm.yaml")
    assert farm.settings().max_atoms == 30
    site = read_site(ROOT / "configs/farm-site.yaml")
    settings = site.qpus["farm"].adapter_settings()
    assert settings["url"] == farm.listen
    assert site.qpus["farm"].kind == "emulator-farm"
    assert emulator_farm.build("farm", settings).name == "farm"


def test_paths_are_relative_to_the_file(tmp_path):
    found = read_config(
        written(
            tmp_path,
            "listen: http://node:0\ntoken_file: token\naddress_file: /shared/address\n"
            "engine: {kind: parsl, config: htex.py}\n",
        )
    )
    assert found.token_file == tmp_path / "token"
    assert found.address_file == Path("/shared/address")
    assert found.engine == ParslEngine(kind="parsl", config=tmp_path / "htex.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen: unix:///a\nworker: 2\n", r"2:1: worker: unknown key; did you mean 'workers'"),
        ("listen: unix:///a\nengine: {kind: ray}\n", r"farm.yaml:2:\d+: engine"),
        ("listen: unix:///a\nengine: {kind: dask}\n", "either scheduler or scheduler_file"),
        ("listen: http://0.0.0.0:80\n", "needs a token"),
        ("listen: /tmp/farm\n", "no address of a farm"),
        ("workers: 2\n", "'listen' is missing"),
        ("listen: unix:///a\nemulator: {workers: 2}\n", "belongs one level up"),
        ("listen: unix:///a\nemulator: {max_atom: 2}\n", "did you mean 'max_atoms'"),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raise OSError('no licence')", "can't be run: OSError: no licence"),
        ("configuration = 3", "no Parsl configuration named 'config'"),
    ],
)
async def test_a_parsl_file_without_a_configuration_is_refused(tmp_path, content, message):
    path = tmp_path / "htex.py"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        await engines.OnParsl(1, path).open()


async def test_a_dask_scheduler_that_isn_t_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such scheduler file"):
        await engines.OnDask(None, tmp_path / "none.json").open()


async def test_an_engine_that_isn_t_installed_is_one_line_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(PluginRefused, match=r"pip install 'qpu-executor\[dask\]'"):
        await engines.OnDask("tcp://127.0.0.1:1", None).open()


def test_every_key_and_route_is_explained():
    shapes = (FarmConfig, FarmSettings, ParslEngine, DaskEngine, FarmHealth, FarmCapabilities)
    keys = {name for shape in shapes for name in shape.model_fields} - {"protocol", "farm"}
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    assert keys - said == set()
    assert LocalEngine().kind in said
    routes = {
        f"{route.method} {route.resource.canonical}".replace("{id}", "ID")
        for route in make_app(None, None).router.routes()
        if route.method != "HEAD"
    }
    assert len(routes) == 6
    assert [route for route in routes if f"`{route}" not in PAGE] == []
