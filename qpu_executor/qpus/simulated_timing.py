"""How long things take on a simulated QPU: pure arithmetic, no clock.

The simulated QPU and the simulator of policies use the same functions, so that
what is rehearsed live takes as long as what is simulated. All durations are seconds.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.simulated_loading import RegisterLoading


@dataclass(frozen=True, slots=True)
class ShotTimes:
    """When each shot of a chunk is over, counted from the first shot's start.

    `ends_s`: ascending, one per shot; empty where all take `shot_s`. `loaded`: False where
    the register for the last of them couldn't be loaded: the chunk fails at its end.
    """

    shots: int
    shot_s: float
    ends_s: tuple[float, ...] = ()
    loaded: bool = True

    @property
    def total_s(self) -> float:
        """From the start of the first shot to the end of the last."""
        return self.ends_s[-1] if self.ends_s else self.shots * self.shot_s

    def taken_by(self, elapsed_s: float) -> int:
        """Shots that are over after `elapsed_s`; a negative time is before the first."""
        if elapsed_s <= 0:
            return 0
        if self.ends_s:
            return bisect_right(self.ends_s, elapsed_s)
        # A shot that ends now is over, whatever the division's last bit says.
        return min(self.shots, int(elapsed_s / self.shot_s + 1e-9))


@dataclass(frozen=True, slots=True)
class ShotTiming:
    """What a QPU needs for shots, and between chunks.

    `shot_rate_hz`: mean shots a second. `jitter`: a shot takes its mean time times
    1 - jitter .. 1 + jitter, evenly spread (0 <= jitter < 1). `setup_s`: before every
    chunk; `switch_s` more where the chunk before was another task's; `layout_s` more where
    it had another register layout. `seed`: of the jitter. `loading`: what further attempts
    to load a register cost (None: the first one always does).
    """

    shot_rate_hz: float
    jitter: float = 0.0
    setup_s: float = 0.0
    switch_s: float = 0.0
    layout_s: float = 0.0
    seed: int = 0
    loading: RegisterLoading | None = None

    @property
    def mean_rate_hz(self) -> float:
        """Shots a second that a usual register gets, its loading included."""
        if self.loading is None:
            return self.shot_rate_hz
        return 1.0 / (1.0 / self.shot_rate_hz + self.loading.mean_s)

    def setup_of(
        self, task_before: int | None, task: int, layout_before: str | None, layout: str | None
    ) -> float:
        """Seconds before the first shot of a chunk. `layout` None: it needs none."""
        setup_s = self.setup_s
        if task != task_before:
            setup_s += self.switch_s
        if layout is not None and layout != layout_before:
            setup_s += self.layout_s
        return setup_s

    def shots_of(self, chunk: ChunkId, shots: int, atoms: int = 0) -> ShotTimes:
        """When the shots of a chunk are over; the same for the same chunk and seed.

        `atoms`: of its register.
        """
        shot_s = 1.0 / self.shot_rate_hz
        if not self.jitter and self.loading is None:
            return ShotTimes(shots, shot_s)
        draw = random.Random(f"{self.seed}/{chunk}").uniform  # noqa: S311  (no secret)
        spread = [draw(1 - self.jitter, 1 + self.jitter) * shot_s for _ in range(shots)]
        if self.loading is None:
            return ShotTimes(shots, shot_s, tuple(accumulate(spread)))
        retries, loaded = self.loading.retries_of(chunk, shots, atoms)
        lasts = [one + n * self.loading.retry_s for one, n in zip(spread, retries, strict=False)]
        return ShotTimes(shots, shot_s, tuple(accumulate(lasts)), loaded)

    def longest_s(self, shots: int) -> float:
        """What a chunk takes at most: every overhead, every shot at its slowest."""
        overhead_s = self.setup_s + self.switch_s + self.layout_s
        loading_s = 0.0 if self.loading is None else shots * self.loading.longest_s
        return overhead_s + loading_s + shots * (1 + self.jitter) / self.shot_rate_hz
