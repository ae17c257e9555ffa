"""Checks over a whole pipeline file: what references name, and cycles."""

from __future__ import annotations

from typing import Any

from qpu_executor.documents.problems import KeyPath, Problems, suggestion
from qpu_executor.pipelines.references import Reference, references_in, texts_in
from qpu_executor.pipelines.step_wishes import STEP_WISHES

RUN_KEYS = ("directory", "seed")
EARLY_KEYS = ("shots", "stop_when", "job_class", "qpu", "priority", "retries", *STEP_WISHES)
"""Keys that must be known before the run: they may refer to inputs only."""


def check_references(raw: dict[str, Any], problems: Problems) -> None:
    """Note unknown steps and inputs, `${each}` out of place, and cycles."""
    steps = raw.get("steps") if isinstance(raw.get("steps"), dict) else {}
    assert isinstance(steps, dict)
    inputs = raw.get("inputs") if isinstance(raw.get("inputs"), dict) else {}
    assert isinstance(inputs, dict)
    checker = _Checker(steps, inputs, problems)
    graph: dict[str, list[str]] = {}
    for name, step in steps.items():
        if isinstance(step, dict):
            graph[name] = checker.step(name, step)
    checker.template(raw.get("answer"), ("answer",), each=False, step=None)
    for path, text in texts_in(inputs):
        if "${" in text.replace("$${", ""):
            problems.add(("inputs", *path), "inputs are plain values, they can't hold references")
    _check_cycles(graph, problems)


class _Checker:
    def __init__(self, steps: dict[str, Any], inputs: dict[str, Any], problems: Problems) -> None:
        self._steps = steps
        self._inputs = inputs
        self._problems = problems

    def step(self, name: str, step: dict[str, Any]) -> list[str]:
        """Check one step; the names of the steps that it needs."""
        here: KeyPath = ("steps", name)
        each = "for_each" in step
        found = self.template(step.get("with"), (*here, "with"), each=each, step=name)
        found += self.template(step.get("for_each"), (*here, "for_each"), each=False, step=name)
        for key in EARLY_KEYS:
            self._early(step.get(key), (*here, key))
        needs = step.get("needs")
        if isinstance(needs, list):
            for i, need in enumerate(needs):
                if isinstance(need, str) and self._is_step(need, (*here, "needs", i)):
                    found.append(need)
        return found

    def template(self, template: Any, path: KeyPath, *, each: bool, step: str | None) -> list[str]:
        """Check every reference of a template; the steps among them."""
        found: list[str] = []
        for below, text in texts_in(template):
            for reference in self._parse(text, (*path, *below)):
                if self._known(reference, (*path, *below), each=each, step=step):
                    found.append(reference.root)
        return found

    def _early(self, value: Any, path: KeyPath) -> None:
        for below, text in texts_in(value):
            here = (*path, *below)
            for reference in self._parse(text, here):
                if reference.root == "inputs":
                    self._known(reference, here, each=False, step=None)
                    continue
                self._problems.add(
                    here, f"{reference} isn't known before the run; expected ${{inputs.name}}"
                )

    def _parse(self, text: str, path: KeyPath) -> list[Reference]:
        try:
            return references_in(text)
        except ValueError as error:
            self._problems.add(path, str(error))
            return []

    def _known(self, reference: Reference, path: KeyPath, *, each: bool, step: str | None) -> bool:
        """Whether the reference names a step; other kinds are checked here."""
        root, parts = reference.root, reference.parts
        if root == "inputs":
            if not parts or parts[0] not in self._inputs:
                word = str(parts[0]) if parts else ""
                self._problems.add(
                    path, f"unknown input in {reference}{suggestion(word, self._inputs)}"
                )
            return False
        if root == "run":
            if len(parts) != 1 or parts[0] not in RUN_KEYS:
                self._problems.add(
                    path, f"unknown {reference}; expected ${{run.directory}} or ${{run.seed}}"
                )
            return False
        if root == "each":
            if not each:
                self._problems.add(path, f"{reference} stands only under 'with', beside 'for_each'")
            return False
        return self._is_step(root, path, str(reference))

    def _is_step(self, name: str, path: KeyPath, shown: str | None = None) -> bool:
        if name in self._steps:
            return True
        self._problems.add(
            path,
            f"unknown step '{name}'{f' in {shown}' if shown else ''}"
            f"{suggestion(name, [*self._steps, *(['each'] if shown else [])])}",
        )
        return False


def _check_cycles(graph: dict[str, list[str]], problems: Problems) -> None:
    """Note each cycle once, at its first step in the file."""
    done: set[str] = set()
    for start in graph:
        if start in done:
            continue
        trail: list[str] = [start]
        todo = [iter(graph[start])]
        while todo:
            need = next(todo[-1], None)
            if need is None:
                done.add(trail.pop())
                todo.pop()
            elif need in trail:
                cycle = [*trail[trail.index(need) :], need]
                problems.add(
                    ("steps", cycle[0]), "steps wait for each other: " + " -> ".join(cycle)
                )
            elif need not in done and need in graph:
                trail.append(need)
                todo.append(iter(graph[need]))
