"""What is installed here, and whether it fits what the manager has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from qpu_executor.cli.doctor.finding import Finding, ok, warning, wrong

OLDEST, NEWEST = (3, 11), (3, 13)
"""Versions of Python that this release is tested with."""

OURS = "qpu-executor"
PULSER = "pulser-core"

_EXTRA_OF = {"pulser-simulation": "emulator", "emu-sv": "emu-sv", "emu-mps": "emu-mps"}


def python_here(version: str) -> Finding:
    """`version`: "3.11.4"."""
    about, tested = "python", f"3.{OLDEST[1]} to 3.{NEWEST[1]}"
    short = _numbers(version)[:2]
    if short < OLDEST:
        return wrong(about, f"Python {version} is too old", f"use Python {tested}")
    if short > NEWEST:
        return warning(about, f"Python {version} is not tested yet", f"use Python {tested}")
    return ok(about, f"Python {version}")


def pulser_here(mine: Mapping[str, str]) -> Finding:
    """Pulser builds and reads sequences."""
    if PULSER not in mine:
        return warning(
            "pulser",
            "Pulser isn't installed: sequences can't be built here",
            "pip install 'qpu-executor[pulser]'",
        )
    return ok("pulser", f"pulser-core {mine[PULSER]}")


def emulators_here(mine: Mapping[str, str], *, embedded: bool) -> Finding:
    """`embedded`: the manager will be one of this process's own, with an emulator of its own."""
    found = [f"{name} {mine[name]}" for name in _EXTRA_OF if name in mine]
    if found:
        return ok("emulators", ", ".join(found))
    if not embedded:
        return ok("emulators", "none here: the manager has its own")
    return wrong(
        "emulators",
        "no emulator is installed, and no manager is named",
        "pip install 'qpu-executor[server,emulator]', or set QPU_MANAGER",
    )


def skew(mine: Mapping[str, str], theirs: Mapping[str, str], emulated: bool) -> Iterable[Finding]:
    """Client against manager. `emulated`: it emulates, so that results depend on its packages.

    Patch releases fit. Managers before this release don't say (`theirs` is empty).
    """
    if not theirs:
        yield ok("versions", "an older manager, which doesn't tell its versions")
        return
    for name in (OURS, PULSER):
        yield _pair(name, mine.get(name), theirs.get(name))
    if emulated:
        shown = [f"{name} {theirs[name]}" for name in _EXTRA_OF if name in theirs]
        yield ok(
            "versions", f"the manager emulates with {', '.join(shown) or 'no package of ours'}"
        )


def _pair(name: str, mine: str | None, theirs: str | None) -> Finding:
    about = "versions"
    if mine is None or theirs is None:
        absent = "here" if mine is None else "at the manager"
        return ok(about, f"{name} isn't installed {absent}: nothing to compare")
    if _numbers(mine)[:2] == _numbers(theirs)[:2]:
        return ok(about, f"{name} {mine} here, {theirs} at the manager")
    return warning(
        about,
        f"{name} is {mine} here and {theirs} at the manager",
        f"pip install '{name}=={theirs}'",
    )


def _numbers(version: str) -> tuple[int, ...]:
    """`1.9.1rc2` as (1, 9): numbers up to the first part that is none."""
    parts = version.split(".")
    leading = next((n for n, part in enumerate(parts) if not part.isdigit()), len(parts))
    return tuple(int(part) for part in parts[:leading])


def scripts_on_path(mine: Mapping[str, str], found: Collection[str], directory: str) -> Finding:
    """Parsl's HighThroughputExecutor starts its scripts by name. `found`: of those, on PATH."""
    if "parsl" not in mine:
        return ok("parsl", "Parsl isn't installed")
    missing = [name for name in HTEX_SCRIPTS if name not in found]
    if not missing:
        return ok("parsl", f"parsl {mine['parsl']}, its scripts are on PATH")
    return warning(
        "parsl",
        f"{' and '.join(missing)} not on PATH: a HighThroughputExecutor of your own won't start",
        f"export PATH={directory}:$PATH",
    )


HTEX_SCRIPTS = ("process_worker_pool.py", "interchange.py")
