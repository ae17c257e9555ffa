"""A task's stopping rule: what its user may ask for, and the checks that need no manager.

    {"min_shots": 100, "stderr": 0.05, "observable": {"ZZI": 0.5, "IZZ": 0.5}}
    {"min_shots": 100, "distinct": 5, "seen": 3}

One rule has one of two ends: the standard error of an observable is at most `stderr`,
or `distinct` bitstrings were each seen at least `seen` times.

An observable is a mapping of labels to coefficients. A label has one character for each
qubit, the i-th for bit i of a bitstring (`qubit_ids[i]` of a result): I (nothing), Z
(+1 for bit 0, -1 for bit 1), 0 or 1 (one where the bit is that, else zero). It is what
users of Qiskit write: labels of a `SparsePauliOp`, with the projectors 0 and 1 of a
`SparseObservable`, lined up with the bitstrings as there, and without the letters that
counts of the computational basis can't say anything about. A projector 1 is the
occupation n of Pulser's users: `n0 + 2 n0 n1` is `{"1I": 1, "11": 2}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeGuard

from qpu_executor.errors import RequestRefused
from qpu_executor.nearest import did_you_mean

KEYS = ("min_shots", "stderr", "observable", "distinct", "seen")
"""What a stopping rule may say."""

LETTERS = frozenset("IZ01")

MAX_LABELS = 500
"""Of one observable: judging 2000 shots by as many takes a tenth of a second."""

EXAMPLE = '{"min_shots": 100, "stderr": 0.05, "observable": {"ZI": 1}}'


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a task has enough shots. `min_shots`: never before so many are counted.

    `stderr`: bound on the standard error of `observable` (labels and coefficients), in the
    coefficients' unit; None: the rule is about `distinct` bitstrings, each `seen` so often.
    """

    min_shots: int
    stderr: float | None = None
    observable: tuple[tuple[str, float], ...] = ()
    distinct: int | None = None
    seen: int = 1

    def values(self) -> dict[str, Any]:
        """The rule as plain values that JSON has; `read_stop_rule` reads them back."""
        if self.stderr is None:
            return {"min_shots": self.min_shots, "distinct": self.distinct, "seen": self.seen}
        return {
            "min_shots": self.min_shots,
            "stderr": self.stderr,
            "observable": dict(self.observable),
        }

    def __str__(self) -> str:
        if self.stderr is not None:
            end = f"the standard error of the observable is at most {self.stderr:g}"
        else:
            often = "" if self.seen == 1 else f", each {self.seen} times or more"
            end = f"{self.distinct} distinct bitstrings were seen{often}"
        return f"{end}, after at least {self.min_shots} shots"

    def refuse_misfit(self, qubits: int) -> None:
        """Raise RequestRefused unless the rule fits a register of so many qubits."""
        for label, _ in self.observable:
            if len(label) != qubits:
                raise _refused(
                    f"observable.{label}",
                    f"the label {label!r} has {len(label)} characters for {qubits} qubits",
                    f"{qubits} characters: I, Z, 0 or 1 for each qubit",
                )
        if self.distinct is not None and self.distinct > 2**qubits:
            raise _refused(
                "distinct",
                f"{self.distinct} distinct bitstrings of {qubits} bits",
                f"at most {2**qubits}",
            )


def read_stop_rule(given: Mapping[str, Any] | StopRule, shots: int | None = None) -> StopRule:
    """The rule that a mapping says. `shots`: of its task, where that is known.

    Raises RequestRefused, which names the key, for anything that can't be a rule.
    """
    if isinstance(given, StopRule):
        given = given.values()
    if not isinstance(given, Mapping):
        raise _refused("", f"{given!r} is no stopping rule", f"a mapping, like {EXAMPLE}")
    found = {name: value for name, value in given.items() if value is not None}
    for name in found:
        if name not in KEYS:
            hint = did_you_mean(str(name), KEYS)
            raise _refused(str(name), f"unknown key{hint}", f"some of {', '.join(KEYS)}")
    if "min_shots" not in found:
        raise _refused("min_shots", "it is missing", "the least number of shots, 1 or more")
    rule = _by_stderr(found) if "stderr" in found or "observable" in found else _by_distinct(found)
    if shots is not None:
        _refuse_beyond(rule, shots)
    return rule


def _by_stderr(found: Mapping[str, Any]) -> StopRule:
    for name in ("distinct", "seen"):
        if name in found:
            raise _refused(name, "it doesn't go with 'stderr'", "one end: stderr or distinct")
    for name in ("stderr", "observable"):
        if name not in found:
            raise _refused(name, "it is missing", "both stderr and observable")
    stderr = found["stderr"]
    if not _is_number(stderr) or float(stderr) <= 0:
        raise _refused("stderr", f"{stderr!r} is not possible", "a number above 0")
    min_shots = _whole("min_shots", found["min_shots"])
    return StopRule(min_shots, float(stderr), _observable(found["observable"]))


def _by_distinct(found: Mapping[str, Any]) -> StopRule:
    if "distinct" not in found:
        raise _refused("", "it says no end", "stderr and observable, or distinct")
    return StopRule(
        _whole("min_shots", found["min_shots"]),
        distinct=_whole("distinct", found["distinct"]),
        seen=_whole("seen", found.get("seen", 1)),
    )


def _observable(given: object) -> tuple[tuple[str, float], ...]:
    if not isinstance(given, Mapping) or not given:
        raise _refused("observable", f"{given!r}", 'labels and coefficients, like {"ZI": 1}')
    if len(given) > MAX_LABELS:
        raise _refused("observable", f"it has {len(given)} labels", f"at most {MAX_LABELS}")
    for label, coefficient in given.items():
        where = f"observable.{label}"
        if not isinstance(label, str):
            raise _refused(where, "the label is a number", f'text: quote it, "{label}"')
        if not label or not set(label) <= LETTERS:
            raise _refused(
                where, f"{label!r} is no label", "a character for each qubit: I, Z, 0 or 1"
            )
        if not _is_number(coefficient):
            raise _refused(where, f"{coefficient!r} is no coefficient", "a real number")
    lengths = sorted({len(label) for label in given})
    if len(lengths) > 1:
        raise _refused(
            "observable", f"labels of {lengths[0]} and of {lengths[-1]} characters", "one length"
        )
    if not any(coefficient and set(label) != {"I"} for label, coefficient in given.items()):
        raise _refused(
            "observable", "it is a constant", "a label with Z, 0 or 1, and a coefficient but 0"
        )
    return tuple((label, float(coefficient)) for label, coefficient in given.items())


def _refuse_beyond(rule: StopRule, shots: int) -> None:
    if rule.min_shots > shots:
        raise _refused(
            "min_shots", f"{rule.min_shots} are more than the task's {shots} shots", f"<= {shots}"
        )
    if rule.distinct is not None and rule.distinct * rule.seen > shots:
        raise _refused(
            "distinct",
            f"{rule.distinct} bitstrings, {rule.seen} times each, never come of {shots} shots",
            f"at most {shots} together",
        )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise _refused(name, f"{value!r} is not possible", "a whole number, 1 or more")
    return int(value)


def _is_number(value: object) -> TypeGuard[Real]:
    """A finite real number, NumPy's too (Python counts True among them, people don't)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _refused(key: str, wrong: str, expected: str) -> RequestRefused:
    where = f"stop_when.{key}" if key else "stop_when"
    return RequestRefused(wrong, where=where, expected=expected)
