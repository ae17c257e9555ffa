"""A small binding of libmunge: make a credential, and read who made one.

MUNGE (https://dun.github.io/munge/, munge(3)) is how the nodes of a cluster know each
other's users: a credential is made by the local munged and names the uid of the process
that asked for it; any munged with the same key can read it, once. Errors are told by the
library's numbers (munge_err_t in munge.h), never by its texts, and what the library
allocates is freed here. Both functions block on munged's socket: call them in a thread.
"""

from __future__ import annotations

import ctypes
import enum
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qpu_executor.errors import NotAuthenticated, OperatorError

LIBRARY = "libmunge.so.2"

MAX_CREDENTIAL = 16_384
"""Characters of a credential that is looked at; one with an empty payload has about 150."""

_OPT_SOCKET = 8


class MungeError(enum.IntEnum):
    """`munge_err_t` of munge.h."""

    SUCCESS = 0
    SNAFU = 1
    BAD_ARG = 2
    BAD_LENGTH = 3
    OVERFLOW = 4
    NO_MEMORY = 5
    SOCKET = 6
    TIMEOUT = 7
    BAD_CRED = 8
    BAD_VERSION = 9
    BAD_CIPHER = 10
    BAD_MAC = 11
    BAD_ZIP = 12
    BAD_REALM = 13
    CRED_INVALID = 14
    CRED_EXPIRED = 15
    CRED_REWOUND = 16
    CRED_REPLAYED = 17
    CRED_UNAUTHORIZED = 18


_REFUSED: dict[int, tuple[str, str]] = {
    MungeError.CRED_EXPIRED: (
        "the credential has expired",
        "compare the clocks of both hosts; credentials live for minutes",
    ),
    MungeError.CRED_REWOUND: (
        "the credential comes from the future",
        "compare the clocks of both hosts",
    ),
    MungeError.CRED_REPLAYED: (
        "the credential was used before",
        "make a new one for every request",
    ),
    MungeError.CRED_UNAUTHORIZED: ("the credential is for somebody else", "make one for anybody"),
    MungeError.CRED_INVALID: (
        "the credential wasn't made with this cluster's key",
        "compare the MUNGE keys of both hosts",
    ),
    MungeError.BAD_REALM: ("the credential is of another realm", "use this cluster's munged"),
}
"""What is wrong with a credential, and what to do; all else is "no credential"."""

_OURS = frozenset({MungeError.SNAFU, MungeError.NO_MEMORY, MungeError.SOCKET, MungeError.TIMEOUT})
"""Failures of this host, whatever the credential is."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a credential says, proven by munged."""

    uid: int
    gid: int
    payload: bytes


def encode(payload: bytes = b"", *, socket: str | None = None) -> str:
    """A credential of this process. `socket`: munged's, None for the library's own default.

    Raises OperatorError if libmunge or munged isn't there.
    """
    library = _library()
    made = ctypes.c_void_p()
    with _context(library, socket) as context:
        code = library.munge_encode(ctypes.byref(made), context, payload, len(payload))
    try:
        if code != MungeError.SUCCESS:
            raise _unavailable(code, socket)
        return ctypes.string_at(made.value or 0).decode("ascii")
    finally:
        _free(made)


def decode(credential: str, *, socket: str | None = None) -> Credential:
    """Who made a credential. Each can be read once.

    Raises NotAuthenticated for one that proves nothing; OperatorError if munged isn't there.
    """
    library = _library()
    if len(credential) > MAX_CREDENTIAL or not credential.isascii():
        raise _no_credential(MungeError.BAD_CRED)
    payload, length = ctypes.c_void_p(), ctypes.c_int()
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    text = credential.encode("ascii").replace(b"\0", b"")
    with _context(library, socket) as context:
        code = library.munge_decode(
            text,
            context,
            ctypes.byref(payload),
            ctypes.byref(length),
            ctypes.byref(uid),
            ctypes.byref(gid),
        )
    try:
        # For some errors the fields are filled in all the same: they are not believed.
        if code in _OURS:
            raise _unavailable(code, socket)
        if code != MungeError.SUCCESS:
            raise _no_credential(code)
        content = ctypes.string_at(payload.value, length.value) if payload.value else b""
        return Credential(uid.value, gid.value, content)
    finally:
        _free(payload)


def available() -> bool:
    """True if libmunge is installed; whether munged runs shows when it is asked."""
    try:
        _library()
    except OperatorError:
        return False
    return True


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OperatorError(
            f"MUNGE can't be used: {error}",
            next_step="install libmunge2 and munge, and start munged",
        ) from None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.munge_ctx_create.restype = pointer
    library.munge_ctx_destroy.argtypes = [pointer]
    library.munge_ctx_destroy.restype = None
    library.munge_ctx_set.argtypes = [pointer, ctypes.c_int]  # and a value, by the option
    library.munge_encode.argtypes = [pointer, pointer, text, ctypes.c_int]
    library.munge_decode.argtypes = [text, pointer, pointer, pointer, pointer, pointer]
    return library


@contextmanager
def _context(library: Any, socket: str | None) -> Iterator[ctypes.c_void_p]:
    context = ctypes.c_void_p(library.munge_ctx_create())
    if context.value is None:
        raise _unavailable(MungeError.NO_MEMORY, socket)
    try:
        if socket is not None:
            name = ctypes.c_char_p(socket.encode())
            code = library.munge_ctx_set(context, _OPT_SOCKET, name)
            if code != MungeError.SUCCESS:
                raise _unavailable(code, socket)
        yield context
    finally:
        library.munge_ctx_destroy(context)


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free.restype = None
    return libc


def _free(pointer: ctypes.c_void_p) -> None:
    _libc().free(pointer)


def _unavailable(code: int, socket: str | None) -> OperatorError:
    return OperatorError(
        f"munged doesn't answer ({_name(code)})",
        where=socket or "MUNGE",
        next_step="start munged on this host, or name its socket",
    )


def _no_credential(code: int) -> NotAuthenticated:
    message, next_step = _REFUSED.get(code, ("this is no MUNGE credential", "use `munge -n`"))
    return NotAuthenticated(f"{message} ({_name(code)})", where="MUNGE", next_step=next_step)


def _name(code: int) -> str:
    try:
        return f"EMUNGE_{MungeError(code).name}"
    except ValueError:
        return f"munge error {code}"
