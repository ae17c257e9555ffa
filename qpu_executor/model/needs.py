"""What a task wants of a QPU besides that its program can run there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class QpuNeeds:
    """What isn't given binds nobody. A QPU that doesn't say what it has doesn't meet it.

    `min_qubits`: atoms that the device holds. `dimensions`: 2 or 3, at least. `channels`:
    ids of channels that it has (`rydberg_local`, say). `min_sequence_s`: longest sequence
    that it takes, at least. `min_shot_rate_hz`: shots a second, at least. `emulated`:
    False: hardware only; True: emulators only.
    """

    min_qubits: int | None = None
    dimensions: int | None = None
    channels: tuple[str, ...] = ()
    min_sequence_s: float | None = None
    min_shot_rate_hz: float | None = None
    emulated: bool | None = None

    def values(self) -> dict[str, Any]:
        """Those that are given, as plain values that JSON has."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        given = {name: value for name, value in found.items() if value not in (None, ())}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> QpuNeeds:
        """The other way round. Raises TypeError for names that aren't among them."""
        found = dict(values)
        found["channels"] = tuple(found.get("channels", ()))
        return cls(**found)
