"""Collecting what is wrong in a file: one line per problem, all problems in one message.

A line reads `file:line:column: key path: what is wrong; did you mean 'x'?`, so that
editors can jump to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import nearest

KeyPath = tuple[str | int, ...]
"""Where in the document: names of keys and indices of list items."""

Position = tuple[int, int]
"""Line and column, both counted from 1."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the known names, or nothing where there are none."""
    names = sorted(known)
    if not names:
        return ""
    guess = nearest(word, names)
    if guess is not None:
        return f"; did you mean '{guess}'?"
    return f"; known: {', '.join(names[:20])}"


def path_text(path: KeyPath) -> str:
    """`steps.sweep.for_each[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass
class Problems:
    """The problems of one file. `positions`: where each key path is written."""

    file: str
    positions: dict[KeyPath, Position] = field(default_factory=dict)
    _lines: list[tuple[Position, str]] = field(default_factory=list)

    def add(self, path: KeyPath, text: str, position: Position | None = None) -> None:
        """Note one problem at a key path (its nearest written ancestor gives the position)."""
        at = position or self._position(path)
        place = path_text(path)
        line = f"{self.file}:{at[0]}:{at[1]}: {place + ': ' if place else ''}{text}"
        if (at, line) not in self._lines:
            self._lines.append((at, line))

    def _position(self, path: KeyPath) -> Position:
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def raise_if_any(self) -> None:
        """Raise one ConfigError that lists every problem, in the order of the file."""
        if not self._lines:
            return
        lines = [line for _, line in sorted(self._lines)]
        if len(lines) == 1:
            raise ConfigError(lines[0])
        raise ConfigError(f"{len(lines)} problems in {self.file}:\n" + "\n".join(lines))
