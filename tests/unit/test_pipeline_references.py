"""References: types kept, text interpolated, escapes, and what a missing part says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.references import (
    KEEP,
    Reference,
    fill,
    parse_reference,
    references_in,
    roots,
    walk,
)

VALUES: dict[str, Any] = {"inputs": {"n": 3, "text": "a${b}"}, "step": [{"k": 1.5}, None]}


def lookup(reference: Reference) -> Any:
    return walk(VALUES[reference.root], reference)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${inputs.n}", 3),
        ("${step}", [{"k": 1.5}, None]),
        ("${step[0].k}", 1.5),
        ("${step[-1]}", None),
        ("n = ${inputs.n}!", "n = 3!"),
        ("$${inputs.n}", "${inputs.n}"),
        ("costs 3$", "costs 3$"),
        ({"a": ["${inputs.n}", 2]}, {"a": [3, 2]}),
        (7, 7),
        ("${inputs.text}", "a${b}"),
    ],
)
def test_references_are_replaced(template: Any, value: Any) -> None:
    assert fill(template, lookup) == value


def test_an_early_value_that_looks_like_a_reference_is_not_read_again() -> None:
    def early(reference: Reference) -> Any:
        return lookup(reference) if reference.root == "inputs" else KEEP

    half = fill(["${inputs.text}", "${inputs.text} ${step[0].k}", "$${x}"], early, last=False)
    assert fill(half, lookup) == ["a${b}", "a${b} 1.5", "${x}"]


@pytest.mark.parametrize("text", ["${}", "${a..b}", "${1a}", "${a[x]}", "${a", "${a.b c}"])
def test_broken_reference_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$\{"):
        references_in(text)


def test_parts_are_keys_and_indices() -> None:
    assert parse_reference("a-b.c[2].d") == Reference("a-b", ("c", 2, "d"))
    assert str(parse_reference("a.c[2]")) == "${a.c[2]}"


def test_roots_are_each_named_once() -> None:
    assert roots({"x": "${a.b} ${c}", "y": ["${a}", "$${d}"]}) == ["a", "c"]


@dataclass
class Found:
    size: int
    _hidden: int = 0


def test_attributes_are_read_but_private_ones_are_not() -> None:
    assert walk(Found(4), parse_reference("s.size")) == 4
    with pytest.raises(ConfigError, match="has no '_hidden'"):
        walk(Found(4), Reference("s", ("_hidden",)))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("step[7]", r"list of 2 items has no item \[7\].*an index below 2"),
        ("step[0].z", r"dict has no 'z'.*one of k"),
        ("inputs.n.z", r"int has no 'z'"),
    ],
)
def test_missing_part_says_what_is_there(reference: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lookup(parse_reference(reference))
