"""Results of classical apps that can't be read back must not end the workflow.

Parsl's HighThroughputExecutor reads results in one thread, outside any try: one
value that fails to unpickle ends the thread, and every later task hangs. What
fails that way is common: an exception whose constructor has parameters of its
own, Pulser's InterpolatedWaveform and DistanceError among others.

The guard sits in the process that submits, in front of Parsl's deserialisers,
and nothing is needed in workers. A value that fails is read again by a patient
reader, which restores instances without their constructors; if that fails too,
the app's future gets an error.
"""

from __future__ import annotations

import io
import logging
import threading
from enum import Enum
from typing import Any

import dill  # type: ignore[import-untyped]
from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import facade
from parsl.serialize.base import SerializerBase

from qpu_executor.errors import CallerError

logger = logging.getLogger(__name__)

RESULT_THREAD = "HTEX-Result-Queue-Thread"
"""Only there: anywhere else Parsl handles the exception by itself."""


class GuardedSerializer(SerializerBase):
    """One of Parsl's serialisers, which answers unreadable results with an error value."""

    def __init__(self, inner: SerializerBase) -> None:
        self.inner = inner
        self.identifier = inner.identifier

    def serialize(self, data: Any) -> bytes:
        """As the inner one does."""
        return bytes(self.inner.serialize(data))

    def deserialize(self, body: bytes) -> Any:
        """The value; in HTEX's result thread, an error as a value where it can't be read."""
        if threading.current_thread().name != RESULT_THREAD:
            return self.inner.deserialize(body)
        try:
            return self.inner.deserialize(body)
        except Exception as error:
            return read_patiently(body, error)


def guard_results() -> None:
    """Put the guard in front of Parsl's deserialisers. Repeating it changes nothing."""
    for methods, register in (
        (facade.methods_for_code, facade.register_method_for_code),
        (facade.methods_for_data, facade.register_method_for_data),
    ):
        for serializer in list(methods.values()):
            if not isinstance(serializer, GuardedSerializer):
                register(GuardedSerializer(serializer))


def read_patiently(body: bytes, first_error: Exception) -> Any:
    """A pickled value whose classes don't take part; else Parsl's wrapper around an error."""
    try:
        return _PatientUnpickler(io.BytesIO(body)).load()
    except Exception:
        logger.debug("a result can't be read", exc_info=True)
    error = CallerError(
        "what the app returned (or raised) came back from its worker, and can't be read here: "
        f"{type(first_error).__name__}: {first_error}",
        next_step="return plain values, or a sequence as sequence.to_abstract_repr()",
    )
    return RemoteExceptionWrapper(CallerError, error, None)


class _PatientUnpickler(dill.Unpickler):  # type: ignore[misc]
    """Restores exceptions and Pulser's objects even if their constructors refuse."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if (module, name) == ("dill._dill", "_create_type"):  # classes of the user's script
            return lambda *args, **kwargs: _patient(found(*args, **kwargs))
        return _patient(found)


def _patient(found: Any) -> Any:
    """What takes the place of a class while a value is read: it makes instances of the class."""
    if not isinstance(found, type) or issubclass(found, Enum):
        return found
    is_error = issubclass(found, BaseException) and _own(found, "__init__")
    if not is_error and not (found.__module__.startswith("pulser.") and _own(found, "__new__")):
        return found

    def make(stand_in: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return found(*args, **kwargs) if is_error else found.__new__(found, *args, **kwargs)
        except Exception:
            return found.__new__(found, *args) if is_error else object.__new__(found)

    metaclass: Any = type(found)
    return metaclass(found.__name__, (found,), {"__new__": make})


def _own(cls: type, method: str) -> bool:
    """Whether a class has a Python version of a method, its own or an inherited one."""
    return hasattr(getattr(cls, method), "__code__")
