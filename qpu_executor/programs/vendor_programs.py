"""Programs in other vendors' own formats: passed through, but for the number of shots.

Nothing here knows what such a program does. What is known is where its shots are
written, so that a task can be cut into chunks, and how its result gives counts. The
content is the JSON object that QRMI's own payload files hold:

- `qiskit-primitive`: `program_id` and `parameters` (Sampler V2, one PUB)
- `iqm-server`: `iqmjson` and `job_type` (a circuit job with one circuit)
- `alice-bob-felis`: `human_qir` and `input_params`

Formats: QRMI's payload schema 0.4.0; IBM's sampler schema V2; IQM's
`CircuitMeasurementCounts`; the CSV histogram that Felis gives.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from typing import Any

from qpu_executor.errors import ProgramRefused, without_context
from qpu_executor.programs.program import Program

QISKIT = "qiskit-primitive"
IQM = "iqm-server"
FELIS = "alice-bob-felis"
VENDOR_KINDS = frozenset({QISKIT, IQM, FELIS})


_KEYS = {
    QISKIT: ("program_id", "parameters"),
    IQM: ("iqmjson", "job_type"),
    FELIS: ("human_qir", "input_params"),
}
"""What a payload file of each kind has to have."""


def kind_of_text(text: str) -> str | None:
    """The kind of a payload file of QRMI, told by its keys; None for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return next((kind for kind, keys in _KEYS.items() if found.keys() >= set(keys)), None)


@without_context
def with_shots(program: Program, shots: int) -> dict[str, Any]:
    """The program's content as an object that asks for this number of shots.

    Raises ProgramRefused for what isn't of its kind, or gives no counts.
    """
    found = _object(program)
    match program.kind:
        case "qiskit-primitive":
            return _sampler(found, shots)
        case "iqm-server":
            return _circuit_job(found, shots)
        case "alice-bob-felis":
            return _felis(found, shots)
    raise ProgramRefused(f"{program.kind!r} is no kind of a vendor's program", rule="kind")


def said_shots(program: Program) -> int | None:
    """The shots that the program itself names; None where it names none, or isn't readable."""
    try:
        found = _object(program)
        match program.kind:
            case "qiskit-primitive":
                pub = found["parameters"]["pubs"][0]
                said = pub[2] if len(pub) > 2 and pub[2] is not None else _option_shots(found)
            case "iqm-server":
                said = _iqm_request(found).get("shots")
            case _:
                said = found["input_params"].get("nbShots")
    except (ProgramRefused, KeyError, IndexError, TypeError, AttributeError):
        return None
    return said if isinstance(said, int) and not isinstance(said, bool) else None


@without_context
def check(program: Program, shots: int) -> None:
    """Whether the program can be a task of this many shots. Raises ProgramRefused.

    A program that names another number is refused: one of the two is a mistake.
    """
    with_shots(program, shots)
    said = said_shots(program)
    if said is not None and said != shots:
        raise ProgramRefused(
            f"the program itself asks for {said} shots, the task for {shots}",
            rule="shots",
            next_step="leave the shots out of the program, or give the task the same number",
        )


@without_context
def counts_in(kind: str, result: str) -> Mapping[str, int]:
    """Bitstrings and how often each was seen. Raises ProgramRefused where there are none.

    A Qiskit result's classical registers are joined in the order in which it names them.
    """
    try:
        match kind:
            case "qiskit-primitive":
                return _sampled(json.loads(result))
            case "iqm-server":
                return _measured(json.loads(result))
            case "alice-bob-felis":
                return _histogram(result)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ProgramRefused(
            f"the result of the {kind!r} program holds no counts ({type(error).__name__}: {error})",
            rule="counts",
        ) from None
    raise ProgramRefused(f"{kind!r} is no kind of a vendor's program", rule="kind")


def _object(program: Program) -> dict[str, Any]:
    try:
        found = json.loads(program.content)
    except (ValueError, RecursionError) as error:
        raise _wrong(program.kind, f"it is no valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise _wrong(program.kind, f"it is a {type(found).__name__}, not an object")
    return found


def _sampler(found: dict[str, Any], shots: int) -> dict[str, Any]:
    if found.get("program_id") != "sampler":
        raise ProgramRefused(
            f"{found.get('program_id')!r} gives no counts",
            rule="counts",
            expected="program_id: sampler",
        )
    parameters = found.get("parameters")
    pubs = parameters.get("pubs") if isinstance(parameters, dict) else None
    if not isinstance(parameters, dict) or not isinstance(pubs, list):
        raise _wrong(QISKIT, "parameters.pubs is missing")
    if len(pubs) != 1:
        raise ProgramRefused(
            f"the program has {len(pubs)} PUBs",
            rule="one_pub",
            expected="one",
            next_step="submit one task for each: they are then scheduled one by one",
        )
    pub = pubs[0] if isinstance(pubs[0], list) else [pubs[0]]
    values = pub[1] if len(pub) > 1 else None
    if _sweeps(values):
        raise ProgramRefused(
            "the PUB holds several sets of parameter values",
            rule="one_pub",
            next_step="submit one task for each set",
        )
    if parameters.get("support_qiskit"):
        raise ProgramRefused(
            "support_qiskit: true asks for a result that only Qiskit can read",
            rule="counts",
            next_step="set it to false",
        )
    changed = {**parameters, "pubs": [[pub[0], values, shots]], "support_qiskit": False}
    return {**found, "parameters": {"version": 2, **changed}}


def _sweeps(values: Any) -> bool:
    """Whether parameter values are an array of sets, and not one set."""
    if isinstance(values, dict):
        return any(isinstance(one, list) and len(one) > 1 for one in values.values())
    return isinstance(values, list) and any(isinstance(one, list) for one in values)


def _option_shots(found: Mapping[str, Any]) -> Any:
    options = found["parameters"].get("options") or {}
    return options.get("default_shots")


def _circuit_job(found: dict[str, Any], shots: int) -> dict[str, Any]:
    if found.get("job_type", "circuit") != "circuit":
        raise ProgramRefused(
            f"a {found['job_type']!r} job gives no counts", rule="counts", expected="circuit"
        )
    request = _iqm_request(found)
    circuits = request.get("circuits")
    if not isinstance(circuits, list) or len(circuits) != 1:
        said = len(circuits) if isinstance(circuits, list) else "no"
        raise ProgramRefused(
            f"the program has {said} circuits",
            rule="one_circuit",
            expected="one",
            next_step="submit one task for each: they are then scheduled one by one",
        )
    return {**found, "job_type": "circuit", "iqmjson": {**request, "shots": shots}}


def _iqm_request(found: Mapping[str, Any]) -> dict[str, Any]:
    """The request, which QRMI's payload files hold as text, and people write as an object."""
    request = found.get("iqmjson")
    if isinstance(request, str):
        try:
            request = json.loads(request)
        except ValueError as error:
            raise _wrong(IQM, f"iqmjson is no valid JSON: {error}") from None
    if not isinstance(request, dict):
        raise _wrong(IQM, "iqmjson is missing")
    return request


def _felis(found: dict[str, Any], shots: int) -> dict[str, Any]:
    given = found.get("input_params", {})
    if not isinstance(found.get("human_qir"), str) or not isinstance(given, dict):
        raise _wrong(FELIS, "human_qir (text) or input_params (an object) is missing")
    return {**found, "input_params": {**given, "nbShots": shots}}


def _sampled(result: Any) -> Mapping[str, int]:
    (only,) = result["results"]
    registers = [
        [format(int(sample, 16), f"0{int(one['num_bits'])}b") for sample in one["samples"]]
        for one in only["data"].values()
    ]
    if not registers:
        raise ValueError("no classical register")
    return dict(Counter("".join(bits) for bits in zip(*registers, strict=True)))


def _measured(result: Any) -> Mapping[str, int]:
    (only,) = result["measurement_counts"]
    return _checked(only["counts"])


def _histogram(result: str) -> Mapping[str, int]:
    rows = [row for row in csv.reader(StringIO(result)) if row]
    return _checked({bits: int(times) for bits, times in rows})


def _checked(counts: Mapping[str, Any]) -> Mapping[str, int]:
    for bits in counts:
        if not bits or set(bits) - {"0", "1"}:
            raise ValueError(f"{bits!r} is no bitstring")
    return {str(bits): int(times) for bits, times in counts.items()}


def _wrong(kind: str, why: str) -> ProgramRefused:
    return ProgramRefused(
        f"this is no {kind!r} program: {why}",
        rule="format",
        expected="the JSON of a QRMI payload file",
    )
