"""An operator who looks at the machine, and says what became of a chunk that is unknown."""

from __future__ import annotations

import re
import time

from qpu_executor.client import Client, connect
from qpu_executor.errors import ManagerUnreachable, RequestRefused
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.pasqal_controller.messages import mark_of
from qpu_executor.testing.fault_matrix.evidence import instance_of
from qpu_executor.testing.fault_matrix.machine import Machine
from qpu_executor.testing.fault_matrix.site import Place
from qpu_executor.wire.policy import SettleRequest

_EVERY_S = 0.1
_UNKNOWN = re.compile(r"what became of chunk (\d+)\.(\d+)")


class Operator:
    """Acts when a QPU is DOWN because of a chunk that nobody answers for."""

    def __init__(self, place: Place, machine: Machine) -> None:
        self._place = place
        self._machine = machine
        self._looked_at = 0.0

    def look(self) -> None:
        """Look at the QPU, if it is time to, and settle what it waits for."""
        if time.monotonic() - self._looked_at < _EVERY_S:
            return
        self._looked_at = time.monotonic()
        try:
            with connect(self._place.url, wait_s=0.05) as client:
                (qpu,) = client.qpus()
                for task_id, n in _UNKNOWN.findall(qpu.status_reason or ""):
                    self._settle(client, ChunkId(int(task_id), int(n)))
        except ManagerUnreachable:
            return  # it was just killed
        except RequestRefused as refusal:
            if "answers for it" not in str(refusal) and "isn't out" not in str(refusal):
                raise

    def _settle(self, client: Client, chunk: ChunkId) -> None:
        mark = mark_of(instance_of(self._place.record), chunk)
        lines = [one for one in self._machine.ledger if one.get("mark") == mark]
        done = [one for one in lines if one["event"] == "ended" and one["status"] == "DONE"]
        if done:
            took_s = (done[0]["at_ns"] - lines[0]["at_ns"]) / 1e9
            word = SettleRequest(counts=done[0]["counts"], device_s=took_s, chunk=chunk.n)
        else:
            word = SettleRequest(lost=True, chunk=chunk.n)
        client.settle(chunk.task_id, word)
