"""What a quantum app may say about its task, and what Parsl hands through per call.

Options come from three places, the nearest wins: the executor's defaults, the
decorator, `parsl_resource_specification` of the call.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.errors import InvalidResourceSpecification

from qpu_executor.client.wishes import WISHES, with_defaults
from qpu_executor.errors import RequestRefused
from qpu_executor.model.stopping import read_stop_rule

if TYPE_CHECKING:
    from qpu_executor.parsl.attempt import QuantumCall

SPEC_KEYWORD = "parsl_resource_specification"
"""The keyword argument by which Parsl takes a call's resource specification."""

OPTIONS = tuple(
    sorted(
        {"account", "job_class", "key", "key_origin", "name", "priority", "qpu", "seed", "shots"}
        | set(WISHES)
    )
)
"""Every option of a quantum task."""

MEMO_OPTIONS = ("job_class", "qpu", "seed", "shots")
"""The options that decide what a result is, with those of `MEMO_WISHES` that are given (so that
what was kept before there were any is still found); the others don't belong to a memo key.
"""

MEMO_WISHES = (
    *("device", "max_calibration_age_s", "min_quality", "on_recalibration", "require"),
    "stop_when",
)

_TEXTS = ("account", "device", "job_class", "key", "name", "qpu")
_NUMBERS = {"shots": 1, "seed": 0, "priority": None}
_ORIGINS = ("user", "engine")


class CallSpec(dict[str, Any]):
    """The resource specification of one quantum call: its options, and which call it is.

    Parsl passes it on untouched to the executor that it chose, whatever it wraps
    around the function. `defaults`: those of the executors that may get the call.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        call: QuantumCall,
        defaults: Sequence[Mapping[str, Any]] = ({},),
    ) -> None:
        super().__init__(options)
        self.call = call
        self.defaults = defaults

    def memo_bytes(self) -> bytes:
        """What of it belongs to a memo key: the options that decide the result."""
        effective = sorted(repr(_deciding(with_defaults(one, self))) for one in self.defaults)
        return "\n".join(effective).encode()


def _deciding(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = [(name, options.get(name)) for name in MEMO_OPTIONS]
    wishes = [(name, options[name]) for name in MEMO_WISHES if options.get(name) is not None]
    return [*found, *wishes]


def merged(*sources: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of several sources in one, the last wins; None means "not said"."""
    found: dict[str, Any] = {}
    for source in sources:
        found = with_defaults(found, source or {})
    return found


def check_names(spec: Mapping[str, Any]) -> None:
    """Raise Parsl's InvalidResourceSpecification for options that no quantum task has."""
    unknown = sorted(str(name) for name in spec if name not in OPTIONS)
    if not unknown:
        return
    hints = [
        f"did you mean {near[0]!r} instead of {name!r}?"
        for name in unknown
        if (near := difflib.get_close_matches(name, OPTIONS, n=1))
    ]
    known = f"QPUExecutor knows: {', '.join(OPTIONS)}"
    raise InvalidResourceSpecification(set(unknown), "; ".join([*hints, known]))


def check_values(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options with numbers as plain ints. Raises RequestRefused for impossible ones.

    What the site allows (classes, limits) is the manager's to check.
    """
    checked = dict(options)
    if "shots" not in checked:
        raise RequestRefused(
            "the number of shots isn't given",
            where=where,
            next_step="write @quantum_app(shots=100), or "
            f"{SPEC_KEYWORD}={{'shots': 100}} in the call",
        )
    for name, minimum in _NUMBERS.items():
        if name in checked:
            checked[name] = _whole_number(name, checked[name], minimum, where)
    for name in _TEXTS:
        if name in checked and not isinstance(checked[name], str):
            raise RequestRefused(f"{name}={checked[name]!r}", where=where, expected="text")
    if checked.get("key_origin", "user") not in _ORIGINS:
        raise RequestRefused(
            f"key_origin={checked['key_origin']!r}",
            where=where,
            expected=" or ".join(map(repr, _ORIGINS)),
        )
    if "stop_when" in checked:
        checked["stop_when"] = read_stop_rule(checked["stop_when"], checked["shots"])
    return checked


def _whole_number(name: str, value: object, minimum: int | None, where: str) -> int:
    expected = "a whole number" if minimum is None else f"a whole number, {minimum} or more"
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or (minimum is not None and number < minimum):
        raise RequestRefused(f"{name}={value!r} is not possible", where=where, expected=expected)
    return number
