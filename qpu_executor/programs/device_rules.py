"""Whether a device allows a program: Pulser's rules against *our* device.

The device inside a program is what its author worked with, and is believed in
nothing: the sequence is rebuilt strictly on the site's own device, so a program
written for another device is taken if (and only if) it is the same sequence of
pulses there. Deterministic, no state, and slow (milliseconds; with hostile
input without bound): callers run it in a worker process (`qpus/checking.py`).
With `fastjsonschema` installed, Pulser's own schema check is ten times faster.
"""

from __future__ import annotations

from typing import Any

from qpu_executor.errors import ProgramError, ProgramRefused, without_context
from qpu_executor.programs.channel_limits import broken_limit
from qpu_executor.programs.program import PULSER, Program, ProgramFacts
from qpu_executor.programs.pulser_extra import import_pulser, pulser_advice_silenced
from qpu_executor.programs.pulser_sequence import read_abstract_repr
from qpu_executor.programs.refusals import Coordinates, from_pulser, one_sentence


@without_context
def check(program: Program, device_json: str, shots: int | None = None) -> ProgramFacts:
    """What is known of a program that the device allows.

    `device_json`: the device's abstract representation. `shots`: checked against
    the device's limit of one run, if given.

    Raises ProgramRefused (`rule` names what is violated) or ProgramError (the
    program can't be read at all).
    """
    sequence = on_device(program, device_json)
    device = sequence.device
    if shots is not None and device.max_runs is not None and shots > device.max_runs:
        raise ProgramRefused(
            f"{shots} shots; {device.name} takes at most {device.max_runs} in one run",
            rule="max_runs",
        )
    return facts_of(sequence)


def facts_of(sequence: Any) -> ProgramFacts:
    """What is known of a `pulser.Sequence` (as `on_device` gives it)."""
    register = sequence.get_register()
    layout = register.layout
    return ProgramFacts(
        atoms=len(register.qubit_ids),
        duration_ns=int(sequence.get_duration()),
        layout=register.coords_hex_hash() if layout is None else layout.static_hash(),
        qubit_ids=tuple(str(one) for one in register.qubit_ids),
        bases=tuple(sequence.get_addressed_bases()),
        levels=len(sequence.get_addressed_states()),
    )


@without_context
def on_device(program: Program, device_json: str) -> Any:
    """The program as a measured `pulser.Sequence` on this device, all rules kept.

    Raises as `check` does. A sequence without a measurement is measured in the
    one basis that it addresses (ground-rydberg on an analog device).
    """
    if program.kind != PULSER:
        raise ProgramRefused(f"a Pulser device can't run a {program.kind!r} program", rule="kind")
    found = read_abstract_repr(program.content)
    pulser = import_pulser()
    with pulser_advice_silenced():
        device = pulser.abstract_repr.deserialize_device(device_json)
        try:
            sequence = pulser.Sequence.from_abstract_repr(program.content)
        except Exception as error:  # whatever a hostile program can make Pulser raise
            raise _unreadable(error, _coordinates_in(found)) from None
        if sequence.device != device:
            sequence = _moved(sequence, device)
        sequence = _with_measurement(sequence)
        _keep_run_rules(pulser, sequence)
    return sequence


def _unreadable(error: Exception, atoms: Coordinates) -> ProgramError:
    refusal = from_pulser(error, atoms, {})
    if isinstance(refusal, ProgramRefused) and refusal.rule == "pulser":
        if isinstance(error, ValueError | TypeError | RuntimeError):
            return refusal
        return ProgramError(f"Pulser can't read the program: {one_sentence(error)}")
    return refusal


def _coordinates_in(found: dict[str, Any]) -> Coordinates:
    try:
        return {
            str(qubit["name"]): [float(qubit[axis]) for axis in "xyz" if axis in qubit]
            for qubit in found["register"]
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _moved(sequence: Any, device: Any) -> Any:
    """The same pulses on our device, or a refusal that says why not."""
    register = sequence.get_register()
    try:
        device.validate_register(register)
    except Exception as error:
        layout = register.layout
        traps = {} if layout is None else {str(k): v for k, v in layout.traps_dict.items()}
        atoms = {str(k): v.as_array() for k, v in register.qubits.items()}
        raise from_pulser(error, atoms, traps) from None
    try:
        return sequence.with_new_device(device, strict=True)
    except Exception as error:
        raise broken_limit(sequence, device) or _different(error, device) from None


def _different(error: Exception, device: Any) -> ProgramRefused:
    return ProgramRefused(
        f"the sequence would change on {device.name}: {one_sentence(error)}",
        rule="device_match",
        next_step=f"build the sequence for {device.name} (`qpu info` shows it)",
    )


def _with_measurement(sequence: Any) -> Any:
    if sequence.is_measured():
        return sequence
    bases = sequence.get_addressed_bases()
    if len(bases) != 1:
        raise ProgramRefused(
            f"the sequence isn't measured, and addresses {len(bases)} bases",
            rule="measurement",
            next_step="end it with sequence.measure(basis)",
        )
    sequence.measure(bases[0])
    return sequence


def _keep_run_rules(pulser: Any, sequence: Any) -> None:
    """What is only enforced when a sequence runs: emptiness, length, layouts."""
    device = sequence.device
    if sequence.is_empty():
        raise ProgramRefused("the sequence is empty: it plays no pulse", rule="empty")
    longest = device.max_sequence_duration
    duration = int(sequence.get_duration(include_fall_time=True))
    if longest is not None and duration > longest:
        raise ProgramRefused(
            f"the sequence takes {duration} ns (fall time included); {device.name} allows "
            f"at most {longest} ns",
            rule="max_sequence_duration",
        )
    if not isinstance(device, pulser.devices.Device):
        return  # a virtual device has no layouts
    try:
        pulser.backend.abc.Backend.validate_sequence(sequence, mimic_qpu=True)
    except Exception as error:
        if sequence.get_register().layout is None:
            raise ProgramRefused(
                f"the register has no layout; {device.name} requires one",
                rule="requires_layout",
                next_step="use register.with_automatic_layout(device)",
            ) from None
        raise ProgramRefused(one_sentence(error), rule="accepts_new_layouts") from None
