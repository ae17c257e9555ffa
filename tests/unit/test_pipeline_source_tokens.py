"""A function's text is named alike under every Python: these hashes are those of 3.11."""

import hashlib
import tokenize

import pytest

from qpu_executor.pipelines.source_tokens import tokens

PLAIN = "def f(x):\n    '''Says so.'''\n    # why\n\n    return [x ** 2, 1.5]\n"
F_STRINGS = '''def f(x, y):
    a = f"{x:>{y}} and {{braces}}"
    b = f"""{
        x!r} over
    {y} lines"""
    return a + rf'\\d{x}' + b + f"{f'{x}'}"
'''


def name(text: str) -> str:
    return hashlib.sha256(repr(tokens(text)).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("text", "hash_"), [(PLAIN, "1e9d7bd4bba9341f"), (F_STRINGS, "8a3c9aca88667a2e")]
)
def test_names_are_those_of_python_3_11(text: str, hash_: str) -> None:
    assert name(text) == hash_


def test_an_f_string_is_one_token_with_its_own_text() -> None:
    assert tokens("f\"{x:{y}} {f'{z}'}\"\n")[0] == (3, "f\"{x:{y}} {f'{z}'}\"")


def test_comments_and_blank_lines_don_t_count_and_code_does() -> None:
    assert name("x = 1  # one\n\n\n") == name("x = 1\n")
    assert name('x = f"{a}"\n') != name('x = f"{b}"\n')


def test_what_isn_t_python_is_an_error() -> None:
    with pytest.raises((tokenize.TokenError, SyntaxError)):
        tokens("def f(:\n  (")
