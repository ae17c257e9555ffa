"""Results on their way between processes: as bytes that are known to unpickle.

An engine that gets a value which pickles but doesn't unpickle may lose its result
channel for good, so each result makes the round trip once in the worker that made it,
and travels as bytes. Steps unpack what they use.
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpu_executor.errors import StepFailed, StoreError
from qpu_executor.pipelines.atomic_files import write_atomically

_MAGIC = b"qpu-executor step result 1\n"


@dataclass(frozen=True, slots=True)
class Packed:
    """A step's result as pickle bytes that were read back once."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A step's result that an earlier attempt of the run left in its directory."""

    path: str


def pack(value: Any, where: str) -> Packed:
    """The value as bytes. Raises StepFailed where it doesn't survive the round trip."""
    try:
        data = pickle.dumps(value, protocol=5)
        pickle.loads(data)  # noqa: S301 - bytes of our own making, one line above
    except Exception as error:
        raise StepFailed(
            f"the result ({type(value).__name__}) can't be sent between processes: "
            f"{type(error).__name__}: {error}",
            where=where,
            expected="a value that pickles and unpickles",
            next_step="return plain values (of a Pulser object its abstract representation)",
        ) from None
    return Packed(data)


def unpack(value: Any) -> Any:
    """The value behind Packed and Kept, also inside a list; anything else as it is."""
    if isinstance(value, Packed):
        return pickle.loads(value.data)  # noqa: S301 - packed by a step of this run
    if isinstance(value, Kept):
        return unpack(Packed(_payload(Path(value.path))))
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return value


def keep(path: Path, packed: Packed, key: str) -> None:
    """Write a result to its file, whole or not at all. `key`: what it is the result of."""
    digest = hashlib.sha256(packed.data).hexdigest()
    write_atomically(path, _MAGIC + f"{key}\n{digest}\n".encode() + packed.data)


def find_kept(path: Path, key: str) -> Kept | None:
    """The kept result of exactly this key, or None (none, of another key, or damaged)."""
    try:
        if _read(path)[0] != key:
            return None
        unpack(Kept(str(path)))
    except (FileNotFoundError, StoreError):
        return None
    except Exception:
        # Whatever a damaged or outdated pickle raises: the step is done again.
        return None
    return Kept(str(path))


def _payload(path: Path) -> bytes:
    return _read(path)[1]


def _read(path: Path) -> tuple[str, bytes]:
    raw = path.read_bytes()
    parts = raw[len(_MAGIC) :].split(b"\n", 2) if raw.startswith(_MAGIC) else []
    if len(parts) != 3 or hashlib.sha256(parts[2]).hexdigest().encode() != parts[1]:
        raise StoreError("the kept result is damaged", where=str(path))
    return parts[0].decode(), parts[2]
