"""From a checked pipeline file to a frozen plan: what runs, in which order, with which seeds.

Nothing here runs a step. Seeds and fingerprints depend on the file's content only, so
they are the same on every engine, platform and version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qpu_executor.client.wishes import with_defaults
from qpu_executor.documents.problems import KeyPath, Problems
from qpu_executor.errors import ConfigError, RequestRefused
from qpu_executor.model.stopping import StopRule, read_stop_rule
from qpu_executor.pipelines.document import Source, Step
from qpu_executor.pipelines.functions import check_arguments, resolve, source_hash
from qpu_executor.pipelines.references import KEEP, Reference, fill, roots, walk
from qpu_executor.pipelines.step_wishes import STEP_WISHES, deciding, read_wish
from qpu_executor.wire.tasks import MAX_SHOTS

SESSION_ARGUMENT = "qpu"
"""The argument through which a hybrid function gets its session."""

_WORDS = frozenset({"inputs", "run", "each"})


def derive_seed(run_seed: int, step: str, *indices: int) -> int:
    """The seed of a step's task: 63 bits of SHA-256 over run seed, step and indices."""
    digest = hashlib.sha256(json.dumps([run_seed, step, *indices]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class StepPlan:
    """One step, with inputs filled in.

    `items`: the values of a fan-out that is known now; None for a single task, or where
    the values come from a step (`for_each` still holds its template then).
    `uses`: steps whose results it needs; `needs`: those and the ones it only waits for.
    `fingerprint`: changes when the step, its inputs or anything before it changes;
    `body_fingerprint` leaves out the list of values, so that a longer list keeps what is done.
    `wishes`: what else its tasks ask for (`step_wishes.py`).
    """

    name: str
    kind: Literal["call", "quantum", "hybrid"]
    function: str
    arguments: Mapping[str, Any]
    for_each: Any
    items: tuple[Any, ...] | None
    needs: tuple[str, ...]
    shots: int | None
    stop_when: StopRule | None
    job_class: str | None
    qpu: str | None
    priority: int
    retries: int
    fingerprint: str
    body_fingerprint: str
    wishes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fans_out(self) -> bool:
        """Whether the step's result is a list with one entry per value."""
        return self.for_each is not None

    @property
    def task_count(self) -> int | None:
        """Tasks of the step; None where a result decides."""
        if not self.fans_out:
            return 1
        return None if self.items is None else len(self.items)

    def item_fingerprint(self, item: Any) -> str:
        """Changes when the body or this item's value changes.

        A value that isn't plain data counts by its place only (the steps before it
        are part of the body's fingerprint).
        """
        if not self.fans_out:
            return self.fingerprint
        try:
            text = json.dumps(item, sort_keys=True)
        except (TypeError, ValueError):
            text = ""
        return _hash([self.body_fingerprint, text])


@dataclass(frozen=True)
class Plan:
    """All steps in an order in which each comes after those that it needs."""

    name: str
    description: str
    seed: int
    inputs: Mapping[str, Any]
    folder: Path
    file: Path
    steps: tuple[StepPlan, ...]
    answer: Any

    def step(self, name: str) -> StepPlan:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def answer_needs(self) -> tuple[str, ...]:
        """Steps whose results the answer is made of."""
        return tuple(name for name in roots(self.answer) if name not in _WORDS)


def build_plan(
    source: Source,
    inputs: Mapping[str, Any],
    seed: int,
    defaults: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a file with these inputs and this seed.

    `defaults`: options of the tasks of steps that say nothing about them.
    Imports the functions and compares them with their arguments. Raises ConfigError
    with every problem.
    """
    document = source.document
    problems = source.problems
    lookup = _early_lookup(inputs, seed)
    plans: dict[str, StepPlan] = {}
    for name in _ordered(document.steps):
        step = document.steps[name]
        plans[name] = _plan_step(name, step, source, lookup, seed, plans, defaults or {})
    answer = _try(problems, ("answer",), document.answer, lookup)
    problems.raise_if_any()
    return Plan(
        name=document.name,
        description=document.description,
        seed=seed,
        inputs=dict(inputs),
        folder=source.folder,
        file=source.path,
        steps=tuple(plans.values()),
        answer=answer,
    )


def _early_lookup(inputs: Mapping[str, Any], seed: int) -> Any:
    def lookup(reference: Reference) -> Any:
        if reference.root == "inputs":
            return walk(inputs, reference)
        if reference.root == "run" and reference.parts == ("seed",):
            return seed
        return KEEP

    return lookup


def _ordered(steps: Mapping[str, Step]) -> list[str]:
    """Names in topological order, ties in the order of the file (cycles were refused)."""
    order: list[str] = []
    waiting = {name: set(_needs(step)) for name, step in steps.items()}
    while waiting:
        name = next(name for name, needs in waiting.items() if not needs - set(order))
        order.append(name)
        del waiting[name]
    return order


def _needs(step: Step) -> list[str]:
    found = dict.fromkeys([*roots(step.arguments), *roots(step.for_each), *step.needs])
    return [name for name in found if name not in _WORDS]


def _try(problems: Problems, path: KeyPath, template: Any, lookup: Any) -> Any:
    try:
        return fill(template, lookup, last=False)
    except ConfigError as error:
        problems.add(path, str(error))
        return None


def _plan_step(
    name: str,
    step: Step,
    source: Source,
    lookup: Any,
    seed: int,
    before: Mapping[str, StepPlan],
    defaults: Mapping[str, Any],
) -> StepPlan:
    here: KeyPath = ("steps", name)
    problems = source.problems
    arguments = _try(problems, (*here, "with"), step.arguments, lookup) or {}
    for_each = _try(problems, (*here, "for_each"), step.for_each, lookup)
    values = _Values(problems, here, lookup)
    items = None
    if step.for_each is not None and not roots(for_each):
        items = values.items(for_each)
    shots = values.whole("shots", step.shots, 1, MAX_SHOTS)
    stop_when = values.rule("stop_when", step.stop_when, shots)
    options = values.options(step, defaults)
    job_class, qpu = options.pop("job_class", None), options.pop("qpu", None)
    needs = tuple(_needs(step))
    source_id = _check_function(step, source, here)
    body: list[Any] = [step.kind, step.function, source_id, arguments]
    if step.kind != "call":
        body += [derive_seed(seed, name), shots, job_class, qpu]
    if stop_when is not None:
        body.append(stop_when.values())
    if decisive := deciding(options):  # nothing is added without: kept results stay
        body.append(decisive)
    listed = set(roots(for_each)) if items is None else set()
    used = [n for n in needs if n in set(roots(arguments)) | listed]
    body += [[n, before[n].fingerprint] for n in used if n in before]
    return StepPlan(
        name=name,
        kind=step.kind,
        function=step.function,
        arguments=arguments,
        for_each=for_each,
        items=items,
        needs=needs,
        shots=shots,
        stop_when=stop_when,
        job_class=job_class,
        qpu=qpu,
        priority=values.whole("priority", step.priority, -1000, 1000) or 0,
        retries=values.whole("retries", step.retries, 0, 100) or 0,
        fingerprint=_hash([body, for_each]),
        body_fingerprint=_hash(body),
        wishes=options,
    )


def _check_function(step: Step, source: Source, here: KeyPath) -> str:
    """Note what is wrong with the function or its arguments; the hash of its source."""
    try:
        function = resolve(source.folder, step.function)
    except ConfigError as error:
        source.problems.add((*here, step.kind), str(error))
        return ""
    added = (SESSION_ARGUMENT,) if step.kind == "hybrid" else ()
    path = (*here, "with") if (*here, "with") in source.problems.positions else here
    for wrong in check_arguments(function, step.function, step.arguments, added):
        source.problems.add(path, wrong)
    return source_hash(function)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()


class _Values:
    """Values of keys that must be known before the run, inputs filled in."""

    def __init__(self, problems: Problems, here: KeyPath, lookup: Any) -> None:
        self._problems = problems
        self._here = here
        self._lookup = lookup

    def _known(self, key: str, template: Any) -> Any:
        filled = _try(self._problems, (*self._here, key), template, self._lookup)
        return fill(filled, lambda reference: str(reference))

    def whole(self, key: str, template: Any, low: int, high: int) -> int | None:
        value = self._known(key, template)
        if value is None and template is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._problems.add(
                (*self._here, key),
                f"{value!r} is not allowed; expected a whole number from {low} to {high}",
            )
            return None
        return value

    def rule(self, key: str, template: Any, shots: int | None) -> StopRule | None:
        if template is None:
            return None
        try:
            return read_stop_rule(self._known(key, template), shots)
        except RequestRefused as refusal:
            inner = (refusal.where or "").split(".")[1:]
            path: KeyPath = (*self._here, key, *inner)
            known = path if path in self._problems.positions else (*self._here, key)
            self._problems.add(known, f"{refusal.message}; expected {refusal.expected}")
            return None

    def text(self, key: str, template: Any) -> str | None:
        value = self._known(key, template)
        if value is not None and not isinstance(value, str):
            self._problems.add((*self._here, key), f"{value!r} is not allowed; expected a name")
            return None
        return value or None

    def options(self, step: Step, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Class, QPU and wishes of the step's tasks, those that are given."""
        if step.kind == "call":
            return {}
        said = {name: self.text(name, getattr(step, name)) for name in ("job_class", "qpu")}
        asked = with_defaults(defaults, {n: getattr(step, n) for n in STEP_WISHES} | said)
        wishes = {n: self.wish(n, asked[n]) for n in STEP_WISHES if n in asked}
        return {n: v for n, v in {**asked, **wishes}.items() if v is not None}

    def wish(self, name: str, template: Any) -> Any:
        try:
            return read_wish(name, self._known(name, template))
        except RequestRefused as refusal:
            expected = f"; expected {refusal.expected}" if refusal.expected else ""
            self._problems.add((*self._here, name), f"{refusal.message}{expected}")
            return None

    def items(self, template: Any) -> tuple[Any, ...] | None:
        value = self._known("for_each", template)
        if not isinstance(value, list):
            self._problems.add(
                (*self._here, "for_each"),
                f"{value!r} is not allowed; expected a list of values or a reference to one",
            )
            return None
        return tuple(value)
