"""What this user can prove who it is with. Reads the token's file, and asks munged once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qpu_executor import munge
from qpu_executor.cli.doctor.finding import Finding, of_error, ok, warning
from qpu_executor.client.credentials import (
    FILE_VARIABLE,
    MUNGE_VARIABLE,
    VARIABLE,
    credentials_of,
)
from qpu_executor.errors import ConfigError, QpuExecutorError


def token(environment: Mapping[str, str]) -> Finding:
    """The bearer token, where there is one."""
    if environment.get(VARIABLE, "").strip():
        if environment.get(FILE_VARIABLE):
            return warning("token", f"{VARIABLE} goes before {FILE_VARIABLE}", f"unset {VARIABLE}")
        return ok("token", f"from {VARIABLE}")
    path = environment.get(FILE_VARIABLE)
    if not path:
        return ok("token", "none: the connection itself, or MUNGE, says who is asking")
    try:
        credentials_of(environment)
    except ConfigError as error:
        found = of_error("token", error)
        if error.next_step:
            return found
        return of_error(
            "token",
            ConfigError(error.message, where=error.where, next_step=f"unset {FILE_VARIABLE}"),
        )
    return ok("token", f"from {path}, which only its owner can read")


def munge_here(environment: Mapping[str, str], *, wanted: bool) -> Iterable[Finding]:
    """`wanted`: a manager on another host is asked, and there is no token."""
    socket = environment.get(MUNGE_VARIABLE) or None
    try:
        munge.encode(socket=socket)
    except QpuExecutorError as error:
        if wanted:
            found = of_error("munge", error)
            yield warning("munge", found.message, f"{found.next_step}; or use a token")
        else:
            yield ok("munge", "not available, and not needed")
        return
    yield ok("munge", f"munged answers{'' if socket is None else f' on {socket}'}")
