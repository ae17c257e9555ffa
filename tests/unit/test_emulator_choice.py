import pytest

from qpu_executor.errors import ConfigError, PluginRefused, ProgramRefused
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus import emulation
from qpu_executor.qpus.emulator_backends import Backend
from qpu_executor.qpus.emulator_choice import QUTIP_ATOMS, EmulationLimits, choose
from qpu_executor.qpus.emulator_costs import costs
from qpu_executor.qpus.emulator_settings import EmulatorSettings, default_memory_mb
from qpu_executor.qpus.pulser_emulator import build

ALL = frozenset(Backend)
GB = 1e9


def facts(atoms, duration_ns=1000, bases=("ground-rydberg",), levels=2):
    return ProgramFacts(atoms, duration_ns, "layout", ("q",) * atoms, bases, levels)


def limits(installed=ALL, backend=None, memory_bytes=8 * GB, run_s=36_000.0, **others):
    return EmulationLimits(
        installed, backend, memory_bytes=memory_bytes, run_s=run_s, max_atoms=100, **others
    )


@pytest.mark.parametrize(
    ("atoms", "installed", "expected"),
    [
        (QUTIP_ATOMS, ALL, Backend.QUTIP),
        (QUTIP_ATOMS + 1, ALL, Backend.EMU_SV),
        (24, ALL, Backend.EMU_SV),
        (25, ALL, Backend.EMU_MPS),
        (QUTIP_ATOMS + 1, {Backend.QUTIP}, Backend.QUTIP),
        (QUTIP_ATOMS + 1, {Backend.QUTIP, Backend.EMU_MPS}, Backend.QUTIP),
        (3, {Backend.EMU_SV, Backend.EMU_MPS}, Backend.EMU_SV),
        (30, {Backend.QUTIP, Backend.EMU_MPS}, Backend.EMU_MPS),
    ],
)
def test_the_size_and_what_is_installed_choose(atoms, installed, expected):
    assert choose(facts(atoms), limits(frozenset(installed))) is expected


@pytest.mark.parametrize(
    ("bases", "levels", "atoms", "expected"),
    [
        (("digital",), 2, 14, Backend.QUTIP),
        (("ground-rydberg", "digital"), 3, 8, Backend.QUTIP),
        (("XY",), 2, 14, Backend.QUTIP),
        (("XY",), 2, 30, Backend.EMU_MPS),
    ],
)
def test_the_basis_chooses(bases, levels, atoms, expected):
    assert choose(facts(atoms, bases=bases, levels=levels), limits()) is expected


def test_what_can_t_fit_is_refused_with_the_number_of_each_emulator():
    with pytest.raises(ProgramRefused) as caught:
        choose(facts(30), limits(memory_bytes=4 * GB, max_bond_dim=2000))
    said = str(caught.value)
    assert "emu-sv: a state of 2^30 amplitudes takes about 429 GB" in said
    assert "emu-mps: a bond dimension of 2000 takes about" in said
    assert "an emulation may take 4 GB here" in said
    assert caught.value.rule == "emulator"


def test_what_takes_too_long_is_refused_with_the_number():
    with pytest.raises(ProgramRefused, match=r"emu-sv: .* takes at least about \d.* s; .* 60 s"):
        choose(facts(22, 4000), limits(backend=Backend.EMU_SV, run_s=60))


def test_what_isn_t_installed_is_named_with_its_extra():
    with pytest.raises(ProgramRefused, match=r"pip install 'qpu-executor\[emu-mps\]'"):
        choose(facts(30), limits(frozenset({Backend.QUTIP})))


def test_levels_count_like_atoms():
    three = costs(Backend.QUTIP, atoms=10, levels=3, duration_ns=100, max_bond_dim=8)
    two = costs(Backend.QUTIP, atoms=10, levels=2, duration_ns=100, max_bond_dim=8)
    assert three.memory_bytes == pytest.approx(two.memory_bytes * 1.5**10)


def test_a_product_of_few_atoms_can_t_reach_the_bound():
    few = costs(Backend.EMU_MPS, atoms=6, levels=2, duration_ns=100, max_bond_dim=10**6)
    assert few.size == "a bond dimension of 8"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "qutpi"}, "did you mean 'qutip'"),
        ({"memory_mb": 0}, "qpus.emu.memory_mb"),
        ({"max_run_s": -1}, "qpus.emu.max_run_s"),
        ({"gpu": "yes"}, "qpus.emu.gpu"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build("emu", settings)


def test_memory_is_shared_by_the_workers():
    assert default_memory_mb(4) == pytest.approx(default_memory_mb(1) / 4, abs=1)
    found = EmulatorSettings(workers=2, memory_mb=100).limits(ALL)
    assert found.memory_bytes == 100 << 20


@pytest.mark.parametrize(
    ("backend", "there", "extra"),
    [
        ("emu-sv", {Backend.QUTIP}, "emu-sv"),
        ("emu-mps", {Backend.QUTIP}, "emu-mps"),
        ("auto", set(), "emulator"),
    ],
)
async def test_a_missing_package_is_one_line_with_its_extra(monkeypatch, backend, there, extra):
    monkeypatch.setattr(emulation, "installed", lambda: frozenset(there))
    qpu = build("emu", {"backend": backend, "workers": 1})
    with pytest.raises(PluginRefused) as caught:
        await qpu.open()
    assert str(caught.value).endswith(f"next: pip install 'qpu-executor[{extra}]'")
    assert "\n" not in str(caught.value)
