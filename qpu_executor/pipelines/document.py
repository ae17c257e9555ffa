"""The pipeline file as its author writes it: pydantic models, and reading with positions.

Every problem of a file is reported at once, each with file, line, column, key path,
what was expected and the nearest known word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from qpu_executor.documents.problems import KeyPath, Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.pipelines.document_checks import check_references
from qpu_executor.pipelines.step_wishes import STEP_WISHES
from qpu_executor.wire.sessions import KeepWarmRequest, SessionHintsFields
from qpu_executor.wire.tasks import MAX_SHOTS

RESERVED = frozenset({"inputs", "run", "each"})
"""Words that references use, so no step can have them as its name."""

EXPECTED = "a pipeline: a mapping with 'name' and 'steps'"

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("pipeline", "{text}", {"text": text})


def _function(value: Any) -> Any:
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise _wrong(f"{value!r} is no function name; expected 'module.function'")
    return value


def _name(value: Any) -> Any:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _wrong(
            f"{value!r} is no name; expected a letter, then up to 63 letters, digits, '_' or '-'"
        )
    return value


def _integer(low: int, high: int) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, str) and "${" in value:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong(f"{value!r} is not allowed; expected a whole number from {low} to {high}")
        return value

    return BeforeValidator(check)


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise _wrong(f"{value!r} is not allowed; expected a name")
    return value


def _values(value: Any) -> Any:
    if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("${")):
        return value
    raise _wrong(f"{value!r} is not allowed; expected a list of values or a reference to one")


def _arguments(value: Any) -> Any:
    if not isinstance(value, dict):
        raise _wrong("expected a mapping from the function's arguments to values")
    return value


def _mapping(of: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(f"{value!r} is not allowed; expected a mapping {of}")
        return value

    return BeforeValidator(check)


def _number(value: Any) -> Any:
    if isinstance(value, str) and "${" in value:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"{value!r} is not allowed; expected a number")
    return value


FunctionName = Annotated[str, BeforeValidator(_function)]
Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[float | str | None, BeforeValidator(_number)]
MaxSeed = 2**63 - 1


class Step(BaseModel):
    """One step: exactly one of `call` (classical), `quantum` and `hybrid` names its function.

    `with` gives the arguments; `for_each` runs the step once per value (`${each}`);
    `needs` orders steps that don't use each other's results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    call: FunctionName | None = None
    quantum: FunctionName | None = None
    hybrid: FunctionName | None = None
    arguments: Annotated[dict[str, Any], BeforeValidator(_arguments)] = Field(
        default_factory=dict, alias="with"
    )
    for_each: Annotated[Any, BeforeValidator(_values)] = None
    needs: list[Text] = Field(default_factory=list)
    shots: Annotated[int | str | None, _integer(1, MAX_SHOTS)] = None
    job_class: Annotated[str | None, BeforeValidator(_text)] = None
    stop_when: Annotated[dict[str, Any] | None, _mapping("with 'min_shots' and an end")] = None
    qpu: Annotated[str | None, BeforeValidator(_text)] = None
    device: Annotated[str | None, BeforeValidator(_text)] = None
    require: Annotated[dict[str, Any] | None, _mapping("like {min_qubits: 50}")] = None
    time_limit_s: Number = None
    on_recalibration: Annotated[str | None, BeforeValidator(_text)] = None
    max_calibration_age_s: Number = None
    min_quality: Number = None
    shot_s: Number = None
    priority: Annotated[int | str, _integer(-1000, 1000)] = 0
    retries: Annotated[int | str, _integer(0, 100)] = 0
    description: str = ""

    @property
    def kind(self) -> Literal["call", "quantum", "hybrid"]:
        """Which of the three the step is (a checked document has exactly one)."""
        return "call" if self.call else "quantum" if self.quantum else "hybrid"

    @property
    def function(self) -> str:
        """The dotted name of the step's function."""
        return self.call or self.quantum or self.hybrid or ""


class SessionWishes(SessionHintsFields):
    """What the run's session says of its work, and asks of a QPU."""

    keep_warm: KeepWarmRequest | None = None


class Document(BaseModel):
    """A whole pipeline file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, BeforeValidator(_name)]
    description: str = ""
    seed: Annotated[int | None, _integer(0, MaxSeed)] = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    session: SessionWishes | None = None
    steps: dict[str, Step] = Field(min_length=1)
    answer: Any = None


@dataclass(frozen=True)
class Source:
    """A checked pipeline file: the document, its text and where its keys are written."""

    path: Path
    text: str
    document: Document
    problems: Problems

    @property
    def folder(self) -> Path:
        """Where the pipeline's own Python is looked for first."""
        return self.path.parent


def load(path: Path, shown_as: str | None = None) -> Source:
    """Read and check a pipeline file. Raises ConfigError with every problem found."""
    shown = shown_as or str(path)
    problems = Problems(shown)
    text = read_text(path, "pipeline file")
    raw = parse_mapping(text, problems, EXPECTED)
    _check_shape(raw, problems)
    document = None
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        _translate(error, raw, problems)
    check_references(raw, problems)
    problems.raise_if_any()
    assert document is not None
    return Source(path.resolve(), text, document, problems)


_DOCUMENT_KEYS = tuple(Document.model_fields)
_STEP_KEYS = tuple(f.alias or name for name, f in Step.model_fields.items())
_KINDS = ("call", "quantum", "hybrid")
_QUANTUM_ONLY = ("shots", "job_class", "qpu", "priority", *STEP_WISHES)


def _translate(error: ValidationError, raw: Any, problems: Problems) -> None:
    """Pydantic's errors as problems of the file."""
    for item in error.errors():
        path: KeyPath = tuple(item["loc"])
        kind = item["type"]
        if kind == "extra_forbidden":
            known = _known_keys(path)
            problems.add(path, f"unknown key{suggestion(str(path[-1]), known)}")
        elif kind == "missing":
            problems.add(path[:-1], f"'{path[-1]}' is missing")
        elif kind == "pipeline":
            problems.add(path, item["msg"])
        elif kind == "too_short":
            problems.add(path, "there are no steps; expected at least one")
        elif not (kind == "model_type" and path[0] == "steps"):  # said by _check_shape
            problems.add(path, f"{_short(item['input'])} is not allowed; {_said(item['msg'])}")


def _known_keys(path: KeyPath) -> tuple[str, ...]:
    """Those that might stand where an unknown one stands."""
    if len(path) == 1:
        return _DOCUMENT_KEYS
    if path[0] == "steps":
        return _STEP_KEYS
    model = KeepWarmRequest if "keep_warm" in path[:-1] else SessionWishes
    return tuple(model.model_fields)


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_shape(raw: dict[str, Any], problems: Problems) -> None:
    """What no single field can say: names of steps and which keys go together."""
    steps = raw.get("steps")
    if not isinstance(steps, dict):
        return
    for name, step in steps.items():
        here: KeyPath = ("steps", name)
        if name in RESERVED:
            problems.add(
                here, f"'{name}' is a word of references, a step can't have it as its name"
            )
        elif not _NAME.fullmatch(name):
            problems.add(
                here,
                "no step name; expected a letter, then letters, digits, '_' or '-' (at most 64)",
            )
        if not isinstance(step, dict):
            problems.add(here, "expected a mapping with one of 'call', 'quantum', 'hybrid'")
            continue
        _check_kind(step, here, problems)


def _check_kind(step: dict[str, Any], here: KeyPath, problems: Problems) -> None:
    kinds = [kind for kind in _KINDS if kind in step]
    if len(kinds) != 1:
        said = "none is" if not kinds else " and ".join(f"'{kind}'" for kind in kinds) + " are"
        problems.add(
            here, f"exactly one of 'call', 'quantum', 'hybrid' names the function; {said} given"
        )
        return
    if kinds == ["quantum"] and "shots" not in step:
        problems.add(here, "'shots' is missing; expected a number of shots for a quantum step")
    if kinds == ["call"]:
        for key in _QUANTUM_ONLY:
            if key in step:
                problems.add((*here, key), "only quantum and hybrid steps have this key")
    if kinds != ["quantum"] and "stop_when" in step:
        problems.add((*here, "stop_when"), "only quantum steps have this key")
