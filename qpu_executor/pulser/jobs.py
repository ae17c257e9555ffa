"""Pulser's job parameters as programs with numbers of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpu_executor.errors import BuilderError, RequestRefused
from qpu_executor.nearest import did_you_mean
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program

FIELDS = ("runs", "variables")
"""Of `pulser.backend.remote.JobParams`."""


def built(
    sequence: Any, job_params: Sequence[Mapping[str, Any]], default_runs: int | None
) -> list[tuple[Program, int]]:
    """Each job's program and shots, in order. Nothing of it is sent yet.

    `default_runs`: of jobs without "runs". Raises RequestRefused for parameters that are
    none, and BuilderError where the sequence can't be built with a job's variables.
    """
    open_ended = sequence.is_parametrized() or sequence.is_register_mappable()
    program = None if open_ended else to_program(sequence)
    jobs = []
    for n, params in enumerate(job_params):
        where = f"job_params[{n}]"
        runs, variables = _checked(params, default_runs, where)
        if program is not None and variables:
            raise RequestRefused(
                f"the sequence has no variables, and the job gives {', '.join(variables)}",
                where=f"{where}.variables",
                next_step="declare them with sequence.declare_variable(), or leave them out",
            )
        jobs.append((program or to_program(_with(sequence, variables, where)), runs))
    return jobs


def _checked(
    params: Mapping[str, Any], default_runs: int | None, where: str
) -> tuple[int, Mapping[str, Any]]:
    for name in params:
        if name not in FIELDS:
            raise RequestRefused(
                f"there is no {name!r} in the parameters of a job{did_you_mean(str(name), FIELDS)}",
                where=where,
                expected='{"runs": 300, "variables": {...}}',
            )
    runs = params.get("runs", default_runs)
    if runs is None:
        raise RequestRefused("no 'runs'", where=where, expected='{"runs": 300}')
    return runs, params.get("variables") or {}


def _with(sequence: Any, variables: Mapping[str, Any], where: str) -> Any:
    try:
        return sequence.build(**variables)
    except Exception as error:  # whatever the user's values make Pulser raise
        raise BuilderError(
            f"the sequence can't be built with these variables: {type(error).__name__}: {error}",
            where=f"{where}.variables",
        ) from error
