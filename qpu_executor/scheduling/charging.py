"""What device time costs: the site's charging table applied to an ended chunk. Pure.

A chunk's device time has two parts: the seconds before its first shot (setup)
and the seconds of its shots. Each is multiplied by the factor that the table
has for what became of it. The sum is what its account and user are charged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qpu_executor.model.states import ChunkState


class Ended(Enum):
    """What became of a chunk, as far as charging goes."""

    FINISHED = "finished"
    STOPPED = "stopped"
    LOST = "lost"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class ChargingTable:
    """Factors, each for a second of device time; 0 is free of charge, 1 is the full price.

    `shots`: shots of a chunk that finished. `setup`: what came before the first shot.
    `preempted`: that setup, where it is paid again because the task had given way.
    `stopped`: shots of a chunk that was ended early on request. `lost`: a chunk that
    doesn't count, without anybody's fault. `device_fault`: a chunk at which the device
    failed. `restart`: shots that were counted, and then discarded because the task had
    to start again after a calibration. `hold`: a QPU that was kept for a session.
    `emulator`: everything on an emulator is multiplied by this in addition.
    """

    shots: float = 1.0
    setup: float = 1.0
    preempted: float = 0.0
    stopped: float = 1.0
    lost: float = 0.0
    device_fault: float = 0.0
    restart: float = 0.0
    hold: float = 1.0
    emulator: float = 1.0

    def chunk_s(
        self, ended: Ended, *, setup_s: float, device_s: float, resumed: bool, emulated: bool
    ) -> float:
        """Charged seconds of an ended chunk. `resumed`: its task had given way before it."""
        setup = self.preempted if resumed else self.setup
        if ended is Ended.FINISHED:
            shots = self.shots
        elif ended is Ended.STOPPED:
            shots = self.stopped
        else:
            shots = setup = self.lost if ended is Ended.LOST else self.device_fault
        return (shots * device_s + setup * setup_s) * (self.emulator if emulated else 1.0)

    def hold_s(self, held_s: float, *, emulated: bool) -> float:
        """Charged seconds of a QPU that was kept for a session."""
        return self.hold * held_s * (self.emulator if emulated else 1.0)

    def discarded_s(self, charged_s: float) -> float:
        """What `charged_s` of shots that were discarded later have cost too much (0 or more)."""
        if self.shots <= 0.0:
            return 0.0
        return max(0.0, charged_s * (1.0 - self.restart / self.shots))


def how_it_ended(state: ChunkState, *, fault: bool) -> Ended:
    """From a chunk's final state; `fault`: the device failed at it."""
    if state is ChunkState.FINISHED:
        return Ended.FINISHED
    if state is ChunkState.STOPPED:
        return Ended.STOPPED
    return Ended.FAULT if fault else Ended.LOST
