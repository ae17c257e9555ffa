"""The functions that a pipeline names: found, checked, and compared with their arguments.

The pipeline's own folder stands first on the module path, here and in every worker.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
import threading
import tokenize
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from qpu_executor.documents.problems import suggestion
from qpu_executor.errors import ConfigError
from qpu_executor.nearest import nearest
from qpu_executor.pipelines.source_tokens import tokens
from qpu_executor.pipelines.tracebacks import user_traceback

_lock = threading.RLock()
_ours: dict[str, str] = {}
"""Top-level modules that were imported for a pipeline, with that pipeline's folder."""


def resolve(folder: Path, dotted: str) -> Callable[..., Any]:
    """The function `module.function`.

    Raises ConfigError where the module or the function isn't there (with the nearest
    name), can't be imported (with the user's traceback), or isn't callable.
    """
    module_name, _, name = dotted.rpartition(".")
    with _lock:
        module = _import(folder, module_name, dotted)
    function = getattr(module, name, None)
    if function is None:
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ConfigError(
            f"module '{module_name}' has no function '{name}'{suggestion(name, known)}",
            where=dotted,
        )
    if not callable(function):
        raise ConfigError(f"'{name}' is a {type(function).__name__}, not a function", where=dotted)
    return function  # type: ignore[no-any-return]


def _import(folder: Path, module_name: str, dotted: str) -> ModuleType:
    top = module_name.partition(".")[0]
    _put_first(str(folder))
    _make_room(folder, top, dotted)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise _broken_import(module_name, error, dotted) from None
        here = [p.stem for p in folder.glob("*.py")] + [
            p.parent.name for p in folder.glob("*/__init__.py")
        ]
        guess = nearest(top, here)
        raise ConfigError(
            f"there is no module '{error.name}'" + (f"; did you mean '{guess}'?" if guess else ""),
            where=dotted,
            expected=f"a module in {folder} or an installed one",
        ) from None
    except (Exception, SystemExit) as error:  # a script that isn't meant to be imported
        raise _broken_import(module_name, error, dotted) from None
    if (folder / f"{top}.py").exists() or (folder / top / "__init__.py").exists():
        _ours[top] = str(folder)
    return module


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()


def _make_room(folder: Path, top: str, dotted: str) -> None:
    """Let a pipeline's own module win over one of another pipeline in a long-lived process."""
    own = folder / f"{top}.py"
    package = folder / top / "__init__.py"
    loaded = sys.modules.get(top)
    if loaded is None or not (own.exists() or package.exists()):
        return
    file = getattr(loaded, "__file__", None)
    if file is not None and Path(file).resolve() in (own.resolve(), package.resolve()):
        return
    if _ours.get(top) is None:
        raise ConfigError(
            f"the module name '{top}' is taken by {file or 'a built-in module'}",
            where=dotted,
            next_step=f"rename {own if own.exists() else package.parent}",
        )
    for name in [n for n in sys.modules if n == top or n.startswith(top + ".")]:
        del sys.modules[name]


def _broken_import(module_name: str, error: BaseException, dotted: str) -> ConfigError:
    return ConfigError(
        f"module '{module_name}' can't be imported: {type(error).__name__}: {error}\n"
        + user_traceback(error).rstrip(),
        where=dotted,
    )


def check_arguments(
    function: Callable[..., Any], dotted: str, given: Collection[str], added: Collection[str] = ()
) -> list[str]:
    """What is wrong with calling `function` with these keyword arguments (empty: nothing).

    `added`: arguments that the run itself supplies (`qpu` for hybrid steps).
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    takes: dict[str, bool] = {}
    anything = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            anything = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            takes[parameter.name] = parameter.default is parameter.empty
    shown = f"{dotted}{signature}"
    wrong: list[str] = []
    meant: list[str] = list(added)
    for name in given:
        if name in added:
            wrong.append(f"the argument '{name}' is supplied by the run; leave it out")
        elif name not in takes and not anything:
            guess = difflib.get_close_matches(name, [n for n in takes if n not in given], n=1)
            meant += guess
            hint = f"; did you mean '{guess[0]}'?" if guess else ""
            wrong.append(f"unknown argument '{name}'{hint} ({shown})")
    for name in added:
        if name not in takes and not anything:
            wrong.append(f"the function must take an argument '{name}' ({shown})")
    missing = [n for n, needed in takes.items() if needed and n not in given and n not in meant]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        wrong.append(f"missing argument{'s' if len(missing) > 1 else ''} {names} ({shown})")
    return wrong


def source_hash(function: Callable[..., Any]) -> str:
    """Names the function's own text, comments and blank lines left out ('' where unknown).

    Code that the function calls isn't part of it.
    """
    try:
        text = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""
    try:
        found = tokens(inspect.cleandoc("\n" + text))
    except (tokenize.TokenError, SyntaxError):
        return hashlib.sha256(text.encode()).hexdigest()
    return hashlib.sha256(repr(found).encode()).hexdigest()
