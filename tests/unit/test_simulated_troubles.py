"""What goes wrong on a simulated QPU without a plan: registers, chunks, lasers, vacuum."""

from math import sqrt

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.simulated_drift import Deviations
from qpu_executor.qpus.simulated_faults import LASER, VACUUM, ChunkFaults
from qpu_executor.qpus.simulated_loading import RegisterLoading
from qpu_executor.qpus.simulated_machine import Machine
from qpu_executor.qpus.simulated_memory import MachineFile, MachineState
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.qpus.simulated_timing import ShotTiming

NOW = 1_800_000_000 * MICROSECONDS


def read(**settings):
    return SimulatedSettings.read("sim", settings)


def refused(**settings):
    with pytest.raises(ConfigError) as caught:
        read(**settings)
    return str(caught.value)


def machine(**settings):
    return Machine("sim", read(shot_rate_hz=5, **settings), MachineState.new(NOW))


def accepted(one, task=1, *, shots=100, atoms=4, at=NOW):
    program = Program(PULSER, f'{{"register": {list(range(atoms))}}}')
    return one.accept(ChunkOrder(ChunkId(task, 0), program, 0, shots, 7), None, at)


# -- loading ----------------------------------------------------------------------


def test_a_register_that_always_loads_takes_no_longer():
    timing = ShotTiming(4.0, loading=RegisterLoading(0.5, 1.0))
    assert timing.shots_of(ChunkId(1, 0), 8, 100).total_s == pytest.approx(2.0)
    assert timing.mean_rate_hz == pytest.approx(4.0)


def test_retries_are_seeded_and_as_many_as_the_odds_say():
    loading = RegisterLoading(0.5, 0.95, most_retries=100, atoms=10, seed=2)
    retries, loaded = loading.retries_of(ChunkId(1, 0), 4000, 10)
    assert loaded
    full = 0.95**10
    mean, spread = (1 - full) / full, sqrt(1 - full) / full
    assert sum(retries) / 4000 == pytest.approx(mean, abs=4 * spread / sqrt(4000))
    assert loading.retries_of(ChunkId(1, 0), 4000, 10)[0] == retries
    assert loading.retries_of(ChunkId(1, 1), 4000, 10)[0] != retries
    assert sum(loading.retries_of(ChunkId(1, 0), 4000, 40)[0]) > 4 * sum(retries)
    assert loading.mean_s == pytest.approx(0.5 * mean, rel=1e-6)


def test_a_rate_that_is_told_beforehand_is_that_of_a_usual_register():
    timing = ShotTiming(5.0, loading=RegisterLoading(0.3, 0.97, atoms=12))
    times = timing.shots_of(ChunkId(1, 0), 5000, 12)
    assert 5000 / times.total_s == pytest.approx(timing.mean_rate_hz, rel=0.05)
    assert times.total_s < timing.longest_s(5000)


def test_a_register_that_can_t_be_loaded_fails_the_chunk():
    one = machine(loading={"retry_s": 1, "atom_success": 0.5, "most_retries": 3})
    chunk = accepted(one, atoms=30)
    end = one.planned_end(chunk)
    assert (end.kind, end.taken) == (OutcomeKind.FAULT, 0)
    assert end.message == "the register of 30 atoms couldn't be loaded"
    # Three further attempts of a second after a shot's 0.2 s.
    assert end.at == NOW + 3_200_000


# -- faults -----------------------------------------------------------------------


def test_chunks_fail_as_often_as_was_said_and_are_drawn_by_their_id():
    faults = ChunkFaults(0.1, seed=4)
    failing = [n for n in range(5000) if faults.fails_after(ChunkId(1, n)) is not None]
    assert len(failing) == pytest.approx(500, abs=4 * sqrt(450))
    assert failing == [n for n in range(5000) if faults.fails_after(ChunkId(1, n)) is not None]
    assert ChunkFaults().fails_after(ChunkId(1, 0)) is None
    always = [ChunkFaults(1.0).fails_after(ChunkId(1, n)) for n in range(500)]
    assert 0 <= min(always) < 0.05 < 0.95 < max(always) <= 1


def test_a_chunk_that_fails_ends_early_without_shots():
    one = machine(faults={"chunk": 1}, partial_results=True)
    chunk = accepted(one)
    end = one.planned_end(chunk)
    assert (end.kind, end.taken, end.message) == (
        OutcomeKind.FAULT,
        0,
        "the QPU failed during the chunk",
    )
    assert NOW <= end.at < NOW + 20_000_000
    assert one.stopped_end(chunk, end.at + 1) == end


def test_a_chunk_that_is_stopped_before_it_would_fail_gives_its_shots():
    one = machine(faults={"chunk": 1}, partial_results=True)
    found = [accepted(machine(faults={"chunk": 1}, partial_results=True), n) for n in range(20)]
    late = next(chunk for chunk in found if one.planned_end(chunk).at > NOW + 10_000_000)
    end = one.stopped_end(late, NOW + 10_000_000)
    assert (end.kind, end.taken) == (OutcomeKind.STOPPED, 50)


def test_lasers_and_vacuum_close_the_qpu_for_as_long_as_was_said():
    one = machine(
        faults={
            "laser": {"mean_between_s": 3600, "repair_s": [60, 600]},
            "vacuum": {"mean_between_s": 90_000, "repair_s": 7200},
        }
    )
    closed = {LASER: [], VACUUM: []}
    at_s = 0.0
    downtime = read(
        faults={
            "laser": {"mean_between_s": 3600, "repair_s": [60, 600]},
            "vacuum": {"mean_between_s": 90_000, "repair_s": 7200},
        }
    ).downtime
    while at_s < 60 * 86_400:
        closing = downtime.next_at(at_s)
        closed[closing.reason].append(closing.ends_s - closing.starts_s)
        at_s = closing.ends_s
    assert len(closed[LASER]) > 500
    assert min(closed[LASER]) >= 60 - 1e-6
    assert max(closed[LASER]) <= 600 + 1e-6
    assert len(closed[VACUUM]) > 20
    assert set(map(round, closed[VACUUM])) == {7200}
    first = downtime.next_at(0.0)
    health = one.health(NOW + round((first.starts_s + 1) * MICROSECONDS))
    assert health.state is QpuState.DOWN
    assert health.reason.startswith(f"{first.reason}, under repair until")


# -- quality ----------------------------------------------------------------------


def test_the_quality_is_measured_now_and_then_and_by_every_calibration():
    one = machine(
        noise={"detuning_per_h": 1, "check_every_s": 600},
        calibration={"by": "manager", "every_s": 86_400, "length_s": 60},
    )

    def quality(at_s):
        return one.health(NOW + at_s * MICROSECONDS).calibration.quality

    assert quality(0) == quality(599) == 1.0
    later = [quality(at_s) for at_s in (1800, 3600, 7200)]
    assert later == sorted(later, reverse=True)
    assert later == [round(Deviations(detuning=h).quality, 3) for h in (0.5, 1.0, 2.0)]
    assert quality(7200) == quality(7799)
    one.ask_calibration(NOW + 8000 * MICROSECONDS)
    assert one.health(NOW + 8030 * MICROSECONDS).calibration.running
    assert quality(8060) == 1.0


async def test_a_chunk_remembers_its_atoms_and_what_the_qpu_was_off_by(tmp_path):
    one = machine(noise="rough")
    chunk = accepted(one, atoms=6, at=NOW + 7200 * MICROSECONDS)
    assert chunk.deviations not in (None, Deviations())
    file = MachineFile(tmp_path / "sim.json")
    await file.write(one.state)
    found = await file.read()
    assert found.chunks[chunk.id] == chunk
    assert found.chunks[chunk.id].atoms == 6


async def test_a_file_from_before_there_was_noise_is_read(tmp_path):
    one = machine()
    chunk = accepted(one)
    file = MachineFile(tmp_path / "sim.json")
    await file.write(one.state)
    text = (tmp_path / "sim.json").read_text()
    for key in ('"atoms": 4', '"deviations": null'):
        assert f", {key}" in text
        text = text.replace(f", {key}", "")
    (tmp_path / "sim.json").write_text(text)
    found = (await file.read()).chunks[chunk.id]
    assert (found.id, found.atoms, found.deviations) == (chunk.id, 0, None)


# -- settings ---------------------------------------------------------------------


def test_nothing_goes_wrong_unless_it_is_asked_for():
    found = read()
    assert found.noise is None
    assert found.timing.loading is None
    assert found.chunk_faults.probability == 0
    assert found.downtime.next_at(0.0) is None
    none = read(noise="none", faults="none")
    assert none.noise is None
    assert none.downtime.next_at(0.0) is None


def test_presets_get_rougher_and_own_keys_go_before_them():
    gentle, rough = read(noise="gentle").noise, read(noise="rough").noise
    assert 0 < gentle.drift.detuning_per_h < rough.drift.detuning_per_h
    assert 0 < gentle.fluctuations.amp_sigma < rough.fluctuations.amp_sigma
    assert read(noise={"preset": "gentle"}).noise == gentle
    own = read(noise={"preset": "gentle", "p_false_neg": 0.2, "realisations": 3}).noise
    assert own.drift.p_false_neg == 0.2
    assert own.fluctuations.realisations == 3
    assert own.drift.detuning_per_h == gentle.drift.detuning_per_h
    assert (
        read(faults="rough").chunk_faults.probability
        > read(faults="gentle").chunk_faults.probability
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise": "ruogh"}, "qpus.sim.noise.preset: 'ruogh' is no value"),
        ({"noise": 3}, "qpus.sim.noise: 3 is no value"),
        ({"noise": {"temprature": 3}}, "qpus.sim.noise.temprature: unknown setting"),
        ({"noise": {"preset": ["x"]}}, "qpus.sim.noise.preset"),
        ({"noise": {"p_false_pos": 0.9}}, "qpus.sim.noise.p_false_pos: 0.9 is no value"),
        ({"noise": {"realisations": 0}}, "qpus.sim.noise.realisations: 0 is no value"),
        ({"faults": {"chunk": 2}}, "qpus.sim.faults.chunk: 2 is no value"),
        (
            {"faults": {"laser": {"mean_between_s": 5, "repair_s": [9, 2]}}},
            "the first of the two must be the smaller",
        ),
        ({"faults": {"laser": {"repair_s": 3}}}, "qpus.sim.faults.laser.mean_between_s"),
        ({"loading": {"retry_s": 1, "atom_success": 0}}, "qpus.sim.loading.atom_success"),
        ({"noise": "gentle", "backend": "emu-sv"}, "qpus.sim.backend: emu-sv here has no noise"),
        (
            {
                "noise": "gentle",
                "calibration": {"every_s": 60, "length_s": 6, "quality": 0.9},
            },
            "with noise, the quality is measured",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(settings, said):
    assert said in refused(**settings)
