"""Reading YAML with the position of every key and value.

References (`${step.key}`) may stand unquoted everywhere, also inside `{...}` and
`[...]`, where plain YAML would read their braces as a mapping: before the parser
sees the text, the braces of references are replaced by private characters of the
same width (columns stay true), and put back in the values.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from qpu_executor.documents.problems import KeyPath, Problems
from qpu_executor.errors import ConfigError

_REFERENCE = re.compile(r"\$\{[^{}\n\"']*\}")
_HIDE = str.maketrans("{}[],:#", "\ue000\ue001\ue002\ue003\ue004\ue005\ue006")
_SHOW = str.maketrans("\ue000\ue001\ue002\ue003\ue004\ue005\ue006", "{}[],:#")
_MAX_NODES = 200_000
_PLAIN = "tag:yaml.org,2002:"


def read_text(path: Path, what: str) -> str:
    """The text of a file; a ConfigError that names it where it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such {what}") from None
    except IsADirectoryError:
        raise ConfigError(
            f"{path}: this is a directory, not a {what}", next_step=f"name the file in {path}"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 text (byte {error.start})", expected="a YAML file"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def parse_mapping(text: str, problems: Problems, what: str) -> dict[str, Any]:
    """The mapping that `text` holds; fills `problems.positions`.

    Duplicate keys and broken values are noted as problems; text that is no YAML
    mapping at all raises ConfigError at once.
    """
    root = compose(text, problems, what)
    if root is None:
        raise ConfigError(f"{problems.file}:1:1: the file is empty", expected=what)
    if not isinstance(root, MappingNode):
        raise ConfigError(
            f"{problems.file}:{root.start_mark.line + 1}:{root.start_mark.column + 1}: "
            f"this is a {_kind(root)}, not a mapping",
            expected=what,
        )
    value = _Reader(problems).value(root, ())
    assert isinstance(value, dict)
    return value


def parse_value(text: str) -> Any:
    """One YAML value from the command line (`3`, `[1, 2]`, `text`); text that is no YAML stays."""
    problems = Problems("value")
    try:
        root = compose(text, problems, "a value")
    except ConfigError:
        return text
    value = None if root is None else _Reader(problems).value(root, ())
    return text if problems else value


def compose(text: str, problems: Problems, what: str) -> Node | None:
    """The YAML nodes of `text`, with references kept whole."""
    hidden = _REFERENCE.sub(lambda match: "$" + match[0][1:].translate(_HIDE), text)
    try:
        node: Node | None = YAML(typ="rt", pure=True).compose(hidden)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        detail = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise ConfigError(
            f"{problems.file}:{line}:{column}: not valid YAML: {detail.translate(_SHOW)}",
            expected=what,
        ) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{problems.file}:1:1: not valid YAML: {error}", expected=what) from None
    return node


def _kind(node: Node) -> str:
    return "list" if isinstance(node, SequenceNode) else "single value"


class _Reader:
    """Turns nodes into values and remembers where each was written."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._scalars: Any = YAML(typ="safe", pure=True).constructor
        self._open: set[int] = set()
        self._seen = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self._problems.positions.setdefault(
            path, (node.start_mark.line + 1, node.start_mark.column + 1)
        )
        self._seen += 1
        if id(node) in self._open or self._seen > _MAX_NODES:
            self._problems.add(path, "aliases repeat themselves without end")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, ScalarNode):
                self._problems.add(path, "a key must be a single word", at)
                continue
            key = str(key_node.value).translate(_SHOW)
            here = (*path, key)
            if key in found:
                first = self._problems.positions[here]
                self._problems.add(here, f"key given twice (first in line {first[0]})", at)
                continue
            self._problems.positions[here] = at
            found[key] = self.value(value_node, here)
        return found

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        tag = str(node.tag or "").removeprefix(_PLAIN)
        make = {
            "str": lambda n: str(n.value).translate(_SHOW),
            "int": self._scalars.construct_yaml_int,
            "float": self._scalars.construct_yaml_float,
            "bool": self._scalars.construct_yaml_bool,
            "null": lambda n: None,
            # A date is text here: what a function makes of it is the function's business.
            "timestamp": lambda n: str(n.value),
        }.get(tag)
        if make is None:
            self._problems.add(path, f"unknown tag '{node.tag}'")
            return None
        try:
            return make(node)
        except (ValueError, YAMLError):
            self._problems.add(path, f"'{node.value}' is not a valid {tag}")
            return None
