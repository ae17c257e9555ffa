from importlib.metadata import EntryPoint

import pytest

from qpu_executor import plugins
from qpu_executor.errors import ConfigError, PluginRefused
from qpu_executor.qpus import registry
from qpu_executor.qpus.pulser_emulator import PulserEmulator
from qpu_executor.testing.fake_qpu import FakeQpu


class WithoutAsk(FakeQpu):
    ask = None


class BlockingStart(FakeQpu):
    def start(self, order):
        return None


class StopTakesNothing(FakeQpu):
    async def stop(self):
        return None


class NoCapabilities:
    name = "x"


def without_ask(name, settings):
    return WithoutAsk(name)


def blocking_start(name, settings):
    return BlockingStart(name)


def stop_takes_nothing(name, settings):
    return StopTakesNothing(name)


def no_capabilities(name, settings):
    return NoCapabilities()


def broken(name, settings):
    raise KeyError("lost")


def fake(name, settings):
    return FakeQpu(name)


NOT_A_FUNCTION = 42


@pytest.fixture
def kinds(monkeypatch):
    """Entry points of the group, as the test wants them."""
    found = {}
    monkeypatch.setattr(plugins, "entry_points", lambda group: found.values())

    def add(kind, target):
        module = target if callable(target) or isinstance(target, int) else None
        point = EntryPoint(kind, f"somewhere:{kind}", registry.GROUP)
        if module is None:
            found[kind] = EntryPoint(kind, target, registry.GROUP)
        else:
            found[kind] = type("Point", (), {"load": lambda self: target, "name": kind})()
            found[kind].value, found[kind].dist = point.value, None

    return add


def test_the_built_in_kind_is_found_by_its_entry_point():
    adapter = registry.build_adapter("pulser-emulator", "emu", {"workers": 1})
    assert isinstance(adapter, PulserEmulator)
    assert adapter.name == "emu"
    assert registry.interface_mismatch(adapter) is None


def test_an_unknown_kind_names_the_nearest_and_all():
    with pytest.raises(PluginRefused) as caught:
        registry.build_adapter("pulser-emulater", "emu", {})
    assert "did you mean 'pulser-emulator'" in str(caught.value)
    assert "QPU emu" in str(caught.value)


def test_settings_that_a_kind_refuses_stay_a_config_error():
    with pytest.raises(ConfigError, match=r"qpus\.emu\.worker.*did you mean 'workers'"):
        registry.build_adapter("pulser-emulator", "emu", {"worker": 1})


def test_a_kind_that_can_t_be_imported_names_what_to_install(kinds):
    kinds("pulser-emulator", "no_such_package_anywhere:build")
    with pytest.raises(PluginRefused, match="no_such_package_anywhere") as caught:
        registry.build_adapter("pulser-emulator", "emu", {})
    assert caught.value.next_step == "pip install 'qpu-executor[emulator]'"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (without_ask, "'ask' is missing"),
        (blocking_start, r"'start' must be a coroutine \(`async def`\)"),
        (stop_takes_nothing, "'stop' must take 1 argument"),
        (no_capabilities, "'capabilities' is missing"),
        (broken, "raised KeyError: 'lost'"),
        (NOT_A_FUNCTION, "is no class or function"),
    ],
)
def test_an_object_that_doesn_t_fit_is_refused_with_the_exact_member(kinds, target, message):
    kinds("odd", target)
    with pytest.raises(PluginRefused, match=message):
        registry.build_adapter("odd", "q", {})


def test_an_adapter_of_another_package_is_taken(kinds):
    kinds("fake", fake)
    assert registry.build_adapter("fake", "q", {}).name == "q"
