"""The tokens of Python source, the same under every version of Python that we support.

They name a function's text (`functions.source_hash`), and a run that was begun under
one Python is resumed under another. The numbers of token types differ between versions,
and since 3.12 an f-string is many tokens: here the numbers are those of 3.11, and an
f-string is one token with its own text, as it was there.
"""

from __future__ import annotations

import io
import tokenize

_STRING, _OPERATOR = 3, 54
"""The numbers of Python 3.11; below `_OPERATOR` they are the same in all versions."""

_F_STRING_START = getattr(tokenize, "FSTRING_START", None)
_F_STRING_END = getattr(tokenize, "FSTRING_END", None)


def tokens(text: str) -> list[tuple[int, str]]:
    """(Type, text) of each token, without comments and blank lines.

    Raises tokenize.TokenError or SyntaxError for what isn't Python.
    """
    found: list[tuple[int, str]] = []
    lines = text.splitlines(keepends=True)
    depth = 0
    begin = (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == _F_STRING_START:
            begin = begin if depth else token.start
            depth += 1
        elif token.type == _F_STRING_END:
            depth -= 1
            if not depth:
                found.append((_STRING, _between(lines, begin, token.end)))
        elif not depth and token.type not in (tokenize.COMMENT, tokenize.NL):
            kind = _OPERATOR if token.type == tokenize.OP else token.type
            found.append((kind, token.string))
    return found


def _between(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Source from one (line from 1, column) to another."""
    (first, left), (last, right) = begin, end
    if first == last:
        return lines[first - 1][left:right]
    middle = lines[first : last - 1]
    return "".join((lines[first - 1][left:], *middle, lines[last - 1][:right]))
