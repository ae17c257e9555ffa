"""From what a user hands over (a Pulser sequence, its JSON) to a `Program`.

Cheap on purpose: no schema is checked and nothing is rebuilt here. Whether a
device allows the program is `device_rules.py`, which runs where it may take
time. Pulser is only imported where an object could be a sequence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qpu_executor.errors import BuilderError, ConfigError, ProgramError, without_context
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_extra import import_pulser
from qpu_executor.programs.vendor_programs import kind_of_text

_REQUIRED_KEYS = ("device", "register", "channels", "operations")
_EXPECTED = "a pulser.Sequence, its abstract representation (JSON text or dict), or a Program"


@without_context
def to_program(candidate: object) -> Program:
    """The program that `candidate` is.

    Takes a Program, a `pulser.Sequence` (which isn't changed; one without a
    measurement gets one in the copy that is sent), or an abstract
    representation as JSON text or dict; also, told by its keys, a QRMI payload
    file of another vendor (`vendor_programs.py`).

    Raises BuilderError for anything else, and ProgramError for a sequence
    whose variables or qubits have no values yet, or that can't be serialised.
    """
    if isinstance(candidate, Program):
        return candidate
    if isinstance(candidate, str):
        return _from_text(candidate)
    if isinstance(candidate, Mapping):
        return _from_dict(candidate)
    return _from_sequence(candidate)


@without_context
def read_abstract_repr(text: str) -> dict[str, Any]:
    """The JSON object of an abstract representation that is ready to run.

    Raises ProgramError for invalid JSON (with line and column), for JSON that
    is no abstract representation of a sequence, and for one that isn't built.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProgramError(
            f"the program is no valid JSON: {error.msg}",
            where=f"line {error.lineno} column {error.colno}",
            expected=_EXPECTED,
        ) from None
    except RecursionError:
        raise ProgramError("the program's JSON is nested too deeply to be read") from None
    except ValueError as error:  # a number of thousands of digits
        raise ProgramError(f"the program's JSON can't be read: {error}") from None
    if not isinstance(found, dict):
        raise ProgramError(
            f"the program's JSON is a {type(found).__name__}, not an object",
            expected="the abstract representation of a Pulser sequence",
        )
    missing = [key for key in _REQUIRED_KEYS if key not in found]
    if missing:
        raise ProgramError(
            f"the JSON is no Pulser sequence: {', '.join(map(repr, missing))} missing",
            where="$",
            expected="what Sequence.to_abstract_repr() gives",
        )
    _refuse_unbuilt(found)
    return found


def _refuse_unbuilt(found: Mapping[str, Any]) -> None:
    register = found["register"]
    if isinstance(register, list) and any(
        isinstance(qubit, dict) and "x" not in qubit for qubit in register
    ):
        raise _mappable()
    variables = _variables_in(found["operations"])
    if variables:
        raise _parametrised(variables)


def _variables_in(operations: Any) -> list[str]:
    """Names of the variables that operations refer to, in order of appearance."""
    names: dict[str, None] = {}
    todo = [operations]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if isinstance(one.get("variable"), str):
                names[one["variable"]] = None
            todo.extend(reversed(list(one.values())))
        elif isinstance(one, list):
            todo.extend(reversed(one))
    return list(names)


def _from_text(candidate: str) -> Program:
    try:
        read_abstract_repr(candidate)
    except ProgramError:
        kind = kind_of_text(candidate)
        if kind is None:
            raise
        return Program(kind, candidate)
    return Program(PULSER, candidate)


def _from_dict(candidate: Mapping[Any, Any]) -> Program:
    try:
        text = json.dumps(candidate, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(
            f"the dict can't be written as JSON: {error}", expected=_EXPECTED
        ) from None
    return _from_text(text)


def _from_sequence(candidate: object) -> Program:
    kind = f"{type(candidate).__module__}.{type(candidate).__qualname__}"
    kind = kind.removeprefix("builtins.")
    try:
        pulser = import_pulser()
    except ConfigError as missing:
        raise BuilderError(
            f"{kind} is no program, as far as can be told without Pulser",
            expected=_EXPECTED,
            next_step=missing.next_step,
        ) from None
    if not isinstance(candidate, pulser.Sequence):
        raise BuilderError(f"{kind} is no program", expected=_EXPECTED)
    return Program(PULSER, _serialised(candidate))


def _serialised(sequence: Any) -> str:
    if sequence.is_register_mappable():
        raise _mappable()
    if sequence.is_parametrized():
        raise _parametrised(list(sequence.declared_variables))
    try:
        text: str = sequence.to_abstract_repr(skip_validation=True)
    except Exception as error:  # Pulser raises many kinds; all mean the same here
        raise ProgramError(
            f"the sequence can't be serialised: {type(error).__name__}: {error}"
        ) from None
    return text if sequence.is_measured() else _measured(text, sequence.get_addressed_bases())


def _measured(text: str, bases: tuple[str, ...]) -> str:
    """The same sequence with a measurement in the one basis that it addresses."""
    if len(bases) != 1:
        raise ProgramError(
            "the sequence isn't measured, and it addresses "
            + (f"several bases ({', '.join(bases)})" if bases else "no basis at all"),
            next_step="end it with sequence.measure(basis)",
        )
    # Editing the JSON spares rebuilding the sequence, and leaves the user's object alone.
    found = json.loads(text)
    found["measurement"] = bases[0]
    return json.dumps(found)


def _parametrised(variables: list[str]) -> ProgramError:
    values = ", ".join(f"{name}=..." for name in variables)
    return ProgramError(
        f"the sequence has variables without values: {', '.join(variables)}",
        next_step=f"call sequence.build({values}) and hand over what it returns",
    )


def _mappable() -> ProgramError:
    return ProgramError(
        "the register is mappable: its qubits aren't placed on traps yet",
        next_step="call sequence.build(qubits={...}) and hand over what it returns",
    )
