"""References in pipeline files: `${inputs.x}`, `${step.key}`, `${step[0]}`, `${each}`, `${run.x}`.

A value that is nothing but one reference takes the referenced value with its type;
references inside longer text are put in as text. `$${` stands for a plain `${`.
Templates are plain data (mappings, lists, scalars), so they pickle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qpu_executor.errors import ConfigError

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_SYNTAX = re.compile(r"\s*([A-Za-z_][\w-]*)((?:\.[A-Za-z_][\w-]*|\[-?\d+\])*)\s*")
_PART = re.compile(r"\.([A-Za-z_][\w-]*)|\[(-?\d+)\]")


@dataclass(frozen=True, slots=True)
class Reference:
    """`root` is `inputs`, `run`, `each` or a step; `parts` are the keys and indices after it."""

    root: str
    parts: tuple[str | int, ...]

    def __str__(self) -> str:
        tail = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.parts)
        return f"${{{self.root}{tail}}}"


def parse_reference(text: str) -> Reference:
    """What stands between `${` and `}`. Raises ValueError that says what is wrong."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(
            f"'${{{text}}}' is no reference (expected ${{inputs.name}}, ${{step}}, "
            "${step.key}, ${step[0]}, ${each}, ${run.directory} or ${run.seed})"
        )
    parts = tuple(m[1] if m[1] is not None else int(m[2]) for m in _PART.finditer(match[2]))
    return Reference(match[1], parts)


def references_in(text: str) -> list[Reference]:
    """All references of one text, in order. Raises ValueError for a broken one."""
    found = [parse_reference(m[1]) for m in _TOKEN.finditer(text) if m[1] is not None]
    rest = _TOKEN.sub("", text)
    if "${" in rest:
        raise ValueError("'${' without '}' (write '$${' for a plain '${')")
    return found


def texts_in(
    template: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text of a template with its key path."""
    if isinstance(template, str):
        yield path, template
    elif isinstance(template, Mapping):
        for key, value in template.items():
            yield from texts_in(value, (*path, key))
    elif isinstance(template, list | tuple):
        for i, value in enumerate(template):
            yield from texts_in(value, (*path, i))


def roots(template: Any) -> list[str]:
    """Names that a (valid) template refers to, each once, in order of appearance."""
    found: dict[str, None] = {}
    for _, text in texts_in(template):
        for reference in references_in(text):
            found[reference.root] = None
    return list(found)


Lookup = Callable[[Reference], Any]
"""Gives the value of a reference."""

KEEP = object()
"""A lookup's answer for references that stay as they are, to be filled in later."""


def fill(template: Any, lookup: Lookup, *, last: bool = True) -> Any:
    """The template with its references replaced.

    With `last=False`, `lookup` may answer KEEP, and escapes stay for the last pass.
    """
    if isinstance(template, str):
        return _fill_text(template, lookup, last)
    if isinstance(template, Mapping):
        return {key: fill(value, lookup, last=last) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, lookup, last=last) for value in template]
    return template


def _fill_text(text: str, lookup: Lookup, last: bool) -> Any:
    whole = _TOKEN.fullmatch(text)
    if whole is not None and whole[1] is not None:
        value = lookup(parse_reference(whole[1]))
        if value is KEEP:
            return text
        # A text value that comes in early must not be read as a template later.
        return value if last else _escape(value)

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${" if last else match[0]
        value = lookup(parse_reference(match[1]))
        if value is KEEP:
            return match[0]
        return str(value) if last else _escape(str(value))

    return _TOKEN.sub(replace, text)


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    return value


def walk(value: Any, reference: Reference) -> Any:
    """Follow `reference.parts` from `value`: keys, then attributes; indices of sequences.

    Raises ConfigError that says which part isn't there and what is.
    """
    for part in reference.parts:
        try:
            if isinstance(part, int) or isinstance(value, Mapping):
                value = value[part]
            elif part.startswith("_"):
                raise AttributeError(part)
            else:
                value = getattr(value, part)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ConfigError(
                f"{reference}: {_there_is(value)} has no {_part_text(part)}",
                expected=_expected(value),
            ) from None
    return value


def _part_text(part: str | int) -> str:
    return f"item [{part}]" if isinstance(part, int) else f"'{part}'"


def _there_is(value: Any) -> str:
    return f"the {type(value).__name__}" + (
        f" of {len(value)} items" if isinstance(value, list | tuple) else ""
    )


def _expected(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return "one of " + ", ".join(str(key) for key in list(value)[:20])
    if isinstance(value, list | tuple):
        return f"an index below {len(value)}"
    names = (
        [name for name in vars(value) if not name.startswith("_")]
        if hasattr(value, "__dict__")
        else []
    )
    return "one of " + ", ".join(names[:20]) if names else None
