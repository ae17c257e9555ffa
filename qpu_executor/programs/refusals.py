"""Pulser's exceptions as refusals of ours: one sentence with the value and the limit.

Pulser says that something is wrong; a user wants to know what, by how much and
what the limit is. Everything raised here pickles, since checks run in worker
processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qpu_executor.errors import ProgramError, ProgramRefused

Coordinates = Mapping[str, Sequence[float]]
"""Atom (or trap) name -> position in um."""

_MAX_TEXT = 300


def from_pulser(error: BaseException, atoms: Coordinates, traps: Coordinates) -> ProgramError:
    """The refusal that `error`, or the innermost known cause of it, stands for."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__
    for one in reversed(chain):
        known = _known(one, atoms, traps)
        if known is not None:
            return known
    return ProgramRefused(one_sentence(chain[-1]), rule="pulser")


def one_sentence(error: BaseException) -> str:
    """What an exception of Pulser's says, on one line and not endlessly long."""
    text = " ".join(str(getattr(error, "message", None) or error).split())
    text = text or type(error).__name__
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


def _known(error: BaseException, atoms: Coordinates, traps: Coordinates) -> ProgramError | None:
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        return ProgramRefused(
            "checking the program takes more memory than is allowed", rule="memory"
        )
    if kind in ("ValidationError", "JsonSchemaException", "JsonSchemaValueException"):
        return ProgramError(
            f"the JSON is no abstract representation of a sequence: {one_sentence(error)}",
            where=getattr(error, "json_path", None),
            expected="what Sequence.to_abstract_repr() gives",
        )
    if kind == "AbstractReprError":
        return ProgramError(one_sentence(error))
    if kind == "DistanceError":
        return _too_close(error, traps if _of_traps(error) else atoms)
    if kind == "RadiusError":
        return _too_far(error, traps if _of_traps(error) else atoms)
    if kind == "AtomsNumberError":
        return _too_many_atoms(error)
    rule = _LAYOUT_RULES.get(kind)
    return None if rule is None else ProgramRefused(one_sentence(error), rule=rule)


_LAYOUT_RULES = {
    "TrapsNumberTooLowError": "min_layout_traps",
    "TrapsNumberTooHighError": "max_layout_traps",
    "MinQubitNumberError": "min_layout_filling",
    "MaxQubitNumberError": "max_layout_filling",
    "DimensionTooHighError": "dimensions",
    "DimensionPositionsTooHighError": "dimensions",
}


def _of_traps(error: Any) -> bool:
    return bool(error.kind == "traps")


def _too_close(error: Any, places: Coordinates) -> ProgramRefused:
    pairs = [(str(a), str(b)) for a, b in error.invalid]
    known = [(math.dist(places[a], places[b]), a, b) for a, b in pairs if {a, b} <= places.keys()]
    if known:
        apart, a, b = min(known)
        text = f"{error.kind} {a} and {b} are {apart:.4g} um apart"
    else:
        text = f"{error.kind} {pairs[0][0]} and {pairs[0][1]} are too close"
    more = f" (and {len(pairs) - 1} more pairs are too close)" if len(pairs) > 1 else ""
    limit = f"{error.device.name} needs at least {error.device.min_atom_distance:g} um"
    return ProgramRefused(f"{text}; {limit}{more}", rule="min_atom_distance")


def _too_far(error: Any, places: Coordinates) -> ProgramRefused:
    names = [str(one) for one in error.invalid]
    known = [(math.hypot(*places[name]), name) for name in names if name in places]
    if known:
        radius, name = max(known)
        text = f"{error.kind[:-1]} {name} is {radius:.4g} um away from the centre"
    else:
        text = f"{error.kind[:-1]} {names[0]} is too far away from the centre"
    limit = f"{error.device.name} allows at most {error.device.max_radial_distance} um"
    return ProgramRefused(f"{text}; {limit}", rule="max_radial_distance")


def _too_many_atoms(error: Any) -> ProgramRefused:
    return ProgramRefused(
        f"the register has {error.invalid} atoms; {error.device.name} takes at most "
        f"{error.device.max_atom_num}",
        rule="max_atom_num",
    )
