"""What Parsl's memoisation takes as the identity of our values and of Pulser's.

Parsl refuses to memoise calls with arguments that it doesn't know. Pulser's
types are registered once Pulser is imported; it is never imported for this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from parsl.dataflow.memoization import id_for_memo

from qpu_executor.client import Result
from qpu_executor.parsl.options import CallSpec
from qpu_executor.programs.program import Program

_registered: set[type] = set()


def register_memo_types() -> None:
    """Register our types, and Pulser's if Pulser is imported. Cheap when repeated."""
    _register(CallSpec, lambda spec: spec.memo_bytes())
    _register(Program, lambda program: program.hash.encode())
    _register(Result, _result_bytes)
    pulser = sys.modules.get("pulser")
    if pulser is None:
        return
    for name in ("Sequence", "Register", "Register3D"):
        if (cls := getattr(pulser, name, None)) is not None:
            _register(cls, _abstract_bytes)
    if (devices := sys.modules.get("pulser.devices")) is not None:
        for name in ("Device", "VirtualDevice"):
            if (cls := getattr(devices, name, None)) is not None:
                _register(cls, _abstract_bytes)


def _register(cls: type, to_bytes: Callable[[Any], bytes]) -> None:
    if cls in _registered:
        return
    _registered.add(cls)

    def identity(value: Any, output_ref: bool = False) -> bytes:
        return f"{cls.__module__}.{cls.__qualname__}:".encode() + to_bytes(value)

    id_for_memo.register(cls, identity)


def _result_bytes(result: Result) -> bytes:
    """What was measured, and of what; not when, and not under which number."""
    content = {
        "program": result.program_hash,
        "counts": dict(result.counts),
        "qubits": list(result.qubit_ids),
        "device": result.device,
    }
    return json.dumps(content, sort_keys=True).encode()


def _abstract_bytes(value: Any) -> bytes:
    """Pulser's abstract representation; the check against its schema would cost 20 times more."""
    try:
        text = value.to_abstract_repr(skip_validation=True)
    except TypeError:
        text = value.to_abstract_repr()
    return str(text).encode()
