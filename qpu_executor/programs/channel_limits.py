"""Which limit of a channel a sequence breaks, and by how much.

Only asked after Pulser has refused to move a sequence to a device: its own
message names neither the value nor the limit.
"""

from __future__ import annotations

from typing import Any

from qpu_executor.errors import ProgramRefused


def broken_limit(sequence: Any, device: Any) -> ProgramRefused | None:
    """The first limit of `device` that `sequence` breaks; None where no plain limit is."""
    level = _other_interaction(sequence, device)
    if level is not None:
        return level
    longest = device.max_sequence_duration
    if longest is not None and sequence.get_duration() > longest:
        return ProgramRefused(
            f"the sequence takes {sequence.get_duration()} ns; {device.name} allows at most "
            f"{longest} ns",
            rule="max_sequence_duration",
        )
    for name, channel in sequence.declared_channels.items():
        refusal = _channel_refusal(sequence, device, name, channel)
        if refusal is not None:
            return refusal
    return None


def _other_interaction(sequence: Any, device: Any) -> ProgramRefused | None:
    if "XY" in sequence.get_addressed_bases():
        return None
    ours, theirs = device.rydberg_level, sequence.device.rydberg_level
    if ours == theirs:
        return None
    return ProgramRefused(
        f"the sequence was built for Rydberg level {theirs}; {device.name} uses {ours}",
        rule="rydberg_level",
        next_step=f"build the sequence for {device.name}",
    )


def _channel_refusal(sequence: Any, device: Any, name: str, channel: Any) -> ProgramRefused | None:
    offered = {**device.channels, **device.dmm_channels}
    fitting = {
        channel_id: one
        for channel_id, one in offered.items()
        if type(one) is type(channel)
        and one.basis == channel.basis
        and one.addressing == channel.addressing
    }
    if not fitting:
        return ProgramRefused(
            f"channel {name!r} is {_described(channel)}, which {device.name} doesn't have",
            rule="channel",
            expected="one of " + ", ".join(f"{k} ({_described(c)})" for k, c in offered.items()),
        )
    amplitude, detuning = _peaks(sequence, name)
    for rule, what, value in (
        ("max_amp", "an amplitude", amplitude),
        ("max_abs_detuning", "a detuning", detuning),
    ):
        limits = [getattr(one, rule) for one in fitting.values()]
        if None not in limits and value > max(limits) + 1e-6:
            return ProgramRefused(
                f"channel {name!r} reaches {what} of {value:.4g} rad/us; {device.name} allows at "
                f"most {max(limits):.4g} rad/us on {', '.join(fitting)}",
                rule=rule,
            )
    return None


def _described(channel: Any) -> str:
    return f"{type(channel).__name__} {channel.addressing} {channel.basis}"


def _peaks(sequence: Any, name: str) -> tuple[float, float]:
    """The largest amplitude and the largest absolute detuning (rad/us) on a channel."""
    from pulser.sampler import sample

    samples = sample(sequence).channel_samples[name]
    amplitude, detuning = samples.amp.as_array(), samples.det.as_array()
    if not len(amplitude):
        return 0.0, 0.0
    return float(amplitude.max()), float(abs(detuning).max())
