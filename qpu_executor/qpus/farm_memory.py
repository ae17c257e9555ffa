"""What a manager remembers of its farm, in a file: what it can do, and who is asking.

With it a manager starts while its farm is away, and finds its chunks again. Its own name
goes into every chunk's, so that two managers (or stores) of one farm don't meet.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from qpu_executor.errors import StoreError
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.emulator_backends import Backend
from qpu_executor.qpus.emulator_choice import EmulationLimits
from qpu_executor.qpus.farm_protocol import FarmCapabilities, FarmDevice

FORMAT = 1
_BACKENDS = {one.value for one in Backend}


@dataclass(frozen=True, slots=True)
class KnownFarm:
    """`device_hash`: as the farm's health tells it; `owner`: this manager, in names of chunks."""

    capabilities: FarmCapabilities
    device: FarmDevice
    device_hash: str
    owner: str = field(default_factory=lambda: secrets.token_hex(8))

    def owned_by(self, earlier: KnownFarm | None) -> KnownFarm:
        """The same, for the manager that wrote the file."""
        return self if earlier is None else replace(self, owner=earlier.owner)

    def key(self, chunk: ChunkId) -> str:
        """The chunk's name at the farm, for good."""
        return f"{self.owner}.{chunk}"

    def limits(self) -> EmulationLimits:
        """What one emulation there may be; emulators that we don't know aren't counted on."""
        can = self.capabilities
        return EmulationLimits(
            installed=frozenset(Backend(one) for one in can.backends if one in _BACKENDS),
            backend=Backend(can.backend) if can.backend in _BACKENDS else None,
            max_atoms=can.max_atoms,
            memory_bytes=can.memory_bytes,
            run_s=can.run_s,
            max_bond_dim=can.max_bond_dim,
        )


class FarmFile:
    """The file of one QPU, beside the store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> KnownFarm | None:
        """What was written last; None without a file. Raises StoreError for a foreign one."""
        try:
            text = await asyncio.to_thread(self._path.read_text, "utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}, this version reads {FORMAT}")
            return KnownFarm(
                FarmCapabilities.model_validate(found["capabilities"]),
                FarmDevice.model_validate(found["device"]),
                str(found["device_hash"]),
                str(found["owner"]),
            )
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None

    async def write(self, known: KnownFarm) -> None:
        """Replace the file. Raises StoreError."""
        document = {
            "format": FORMAT,
            "capabilities": known.capabilities.model_dump(),
            "device": known.device.model_dump(),
            "device_hash": known.device_hash,
            "owner": known.owner,
        }
        try:
            await asyncio.to_thread(self._replace, json.dumps(document))
        except OSError as error:
            raise StoreError(
                f"what is known of the farm can't be written: {error.strerror}",
                where=str(self._path),
            ) from None

    def _replace(self, text: str) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(text, "utf-8")
        os.replace(new, self._path)

    def _unreadable(self, reason: str) -> StoreError:
        return StoreError(
            f"what is known of the farm can't be read: {reason}",
            where=str(self._path),
            next_step="remove the file: chunks that run at the farm are taken again then",
        )
