"""The QPUs that this manager drives: opened adapters with what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qpu_executor.errors import RequestRefused
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import QpuSpec
from qpu_executor.nearest import did_you_mean
from qpu_executor.qpus.base import Capabilities, DeviceDescription, Health, QpuAdapter


@dataclass(slots=True)
class Qpu:
    """One QPU: its adapter, its device, and its health when last seen."""

    name: str
    kind: str
    adapter: QpuAdapter
    description: DeviceDescription = field(default_factory=lambda: DeviceDescription("unknown"))
    health: Health = field(default_factory=lambda: Health(QpuState.DOWN, "not opened yet"))

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter can do."""
        return self.adapter.capabilities

    def spec(self) -> QpuSpec:
        """The QPU as the scheduling core sees it."""
        can = self.capabilities
        return QpuSpec(
            name=self.name,
            slots=can.slots,
            min_chunk_shots=can.min_chunk_shots,
            max_chunk_shots=can.max_chunk_shots,
            shot_rate_hz=can.shot_rate_hz,
            state=self.health.state,
            reason=self.health.reason,
        )


class Fleet:
    """All QPUs by name, in the order of the site file."""

    def __init__(self, qpus: Iterable[Qpu]) -> None:
        self._qpus = {qpu.name: qpu for qpu in qpus}

    async def open(self) -> None:
        """Open every adapter. Raises OperatorError or DeviceError of the first that can't."""
        for qpu in self._qpus.values():
            await qpu.adapter.open()
            qpu.description = await qpu.adapter.describe()
            qpu.health = await qpu.adapter.health()

    async def close(self) -> None:
        """Close every adapter, also after a failed `open`."""
        for qpu in self._qpus.values():
            await qpu.adapter.close()

    def __iter__(self) -> Iterator[Qpu]:
        return iter(self._qpus.values())

    def find(self, name: str) -> Qpu | None:
        """The QPU of this name, if there is one."""
        return self._qpus.get(name)

    def get(self, name: str) -> Qpu:
        """The QPU of this name. Raises RequestRefused with the nearest name."""
        qpu = self._qpus.get(name)
        if qpu is None:
            raise RequestRefused(
                f"there is no QPU {name!r}{did_you_mean(name, self._qpus)}",
                where="qpu",
                expected=f"one of {', '.join(self._qpus)}",
                next_step="see `qpu info`",
            )
        return qpu
