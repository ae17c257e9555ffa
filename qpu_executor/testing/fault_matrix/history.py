"""One store's life: clients submit, the controller fails, the manager is killed and started.

A seed fixes the plan (which point, which weather when, which client); when exactly a
process runs is the host's affair, so a seed repeats the plan and not the microsecond.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from qpu_executor.model.states import ChunkState
from qpu_executor.testing.fault_matrix.evidence import (
    Evidence,
    live_tasks,
    open_chunks,
    read_evidence,
)
from qpu_executor.testing.fault_matrix.forked import ManagerProcess, NurseryProcess
from qpu_executor.testing.fault_matrix.machine import Machine
from qpu_executor.testing.fault_matrix.operator import Operator
from qpu_executor.testing.fault_matrix.site import Place
from qpu_executor.testing.fault_matrix.traps import BETWEEN, ELSEWHERE, Trap
from qpu_executor.testing.fault_matrix.users import Users
from qpu_executor.testing.fault_matrix.weather import Weather

RECEIVED = "received, never done"
RECEIVED_LATE = "received, done after a quarter of a second"
CREATED = "job made, not answered"
AT_A_TIME = "any time"

_AT_CONTROLLER: dict[str, dict[str, object]] = {
    RECEIVED: {"do": "drop"},
    RECEIVED_LATE: {"do": "slow", "delay_s": 0.25},
    CREATED: {"do": "drop", "handled": True},
}
"""The controller kills its caller when it gets a job."""

_SHARE_BETWEEN = 0.75
_PATIENCE_S = 0.5
"""How long bad weather may keep a manager from its trap, before it clears up."""
_HEALED_PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.1
_ENDS_WITHIN_S = 150.0


@dataclass(frozen=True)
class Kill:
    """`point`: where it was planned. `open`: what the store knew of the chunk that was out."""

    point: str
    open: ChunkState | None

    @property
    def between(self) -> bool:
        """After the chunk was saved, and before its acknowledgement was."""
        return self.open is ChunkState.SENT


@dataclass
class Story:
    """What happened. `ended_badly`: managers that ended otherwise than by being killed."""

    seed: int
    weather: Weather
    kills: list[Kill] = field(default_factory=list)
    ended_badly: list[str] = field(default_factory=list)

    @property
    def between(self) -> int:
        """How many landed between a chunk's save and that of its acknowledgement."""
        return sum(one.between for one in self.kills)

    def __str__(self) -> str:
        landed = Counter(f"{one.point}: {one.open or 'no chunk'} out" for one in self.kills)
        lines = "\n".join(f"  {n} {what}" for what, n in sorted(landed.items()))
        return (
            f"{self.weather.name}, seed {self.seed}: {len(self.kills)} kills, "
            f"{self.between} between save and acknowledgement\n{lines}"
        )


StartManager = Callable[[Mapping[str, object]], ManagerProcess]


class History:
    """`place`: directory, store and site. `users`: uids of those who submit (None: this one).

    `start`: starts a manager, instead of forking one off the nursery (without traps then).
    `mutant`: what is wrong with it on purpose. `points`: where to kill it (none: anywhere).
    """

    def __init__(
        self,
        nursery: NurseryProcess,
        place: Place,
        weather: Weather,
        seed: int,
        *,
        users: tuple[int | None, ...] = (None,),
        mutant: str | None = None,
        points: tuple[str, ...] = (),
        start: StartManager | None = None,
    ) -> None:
        self.story = Story(seed, weather)
        self._nursery = nursery
        self._place = place
        self._weather = weather
        self._mutant = mutant
        self._points = points
        self._start_manager = start or self._forked
        self._traps = start is None
        # Which plan is made is no secret.
        self._random = random.Random(seed)  # noqa: S311
        self._machine = Machine(nursery, place.directory)
        self._users = Users(nursery, place, users, self._random)
        self._look_at_s = 0.0
        self._operator = None if place.gives_up else Operator(place, self._machine)

    def run(self, kills: int) -> Evidence:
        """So many kills or more, half of them between save and acknowledgement; then to the end.

        Raises TimeoutError where the end isn't reached undisturbed.
        """
        self._machine.start()
        self._place.write_site(self._machine.url)
        try:
            self._first()
            while len(self.story.kills) < kills or not self._enough_between(kills):
                self._one_kill()
            self._machine.heal()
            self._finish()
        finally:
            self._users.close()
            self._machine.close()
        return asyncio.run(self._evidence())

    def _enough_between(self, kills: int) -> bool:
        """Half of them; a host that is too slow for that doesn't keep us for ever."""
        story = self.story
        return 2 * story.between >= len(story.kills) or len(story.kills) >= 4 * kills

    # -- one kill -------------------------------------------------------------------

    def _first(self) -> None:
        """The first manager has to see the device once."""
        manager = self._start_manager({})
        assert manager.stdout.readline(), self._place.log.read_text()
        self._killed(manager, AT_A_TIME)

    def _one_kill(self) -> None:
        point = self._choose_point()
        clouded = self._random.random() < 0.75
        when = self._random.choice(("before", "running", "absent"))
        began = self._machine.jobs_begun
        if clouded and when == "before":
            self._cloud()
        trap = None if point in _AT_CONTROLLER or point == AT_A_TIME else point
        manager = self._start_manager(
            {
                "trap": None
                if trap is None
                else asdict(Trap(trap, self._random.choice((0, 0, 0, 1))))
            }
        )
        if not self._traps:
            # It takes seconds to start, which is longer than clients wait for a first word.
            manager.stdout.readline()
        self._users.submit()
        if point in _AT_CONTROLLER:
            fault = {"on": ["create"], "times": 1, "kills": manager.pid, **_AT_CONTROLLER[point]}
            self._machine.aim(fault)
        if point == AT_A_TIME:
            self._until_dead(manager, self._random.uniform(0.0, 0.5))
            self._killed(manager, point)
        else:
            if clouded and when == "running":
                self._until_dead(manager, _PATIENCE_S, lambda: self._machine.jobs_begun > began)
                self._cloud()
            self._until_dead(manager, _PATIENCE_S, self._nothing_to_do)
            if manager.poll() is None:
                self._machine.heal()
                self._until_dead(manager, _HEALED_PATIENCE_S, self._nothing_to_do)
            self._killed(manager, point if manager.poll() is not None else AT_A_TIME)
        self._afterwards(clouded=clouded and when == "absent")

    def _choose_point(self) -> str:
        if self._points:
            return self._random.choice(self._points)
        between = self._random.random() < _SHARE_BETWEEN
        if not self._traps:
            return self._random.choice(tuple(_AT_CONTROLLER)) if between else AT_A_TIME
        if between:
            return self._random.choice((*BETWEEN, *_AT_CONTROLLER))
        return self._random.choice((*ELSEWHERE, *[AT_A_TIME] * len(ELSEWHERE)))

    def _cloud(self) -> None:
        if self._weather.one_job:
            began = self._machine.jobs_begun
            self._machine.cloud(self._weather)
            self._until(0.3, lambda: self._machine.jobs_begun > began)
            self._machine.heal()
        else:
            self._machine.cloud(self._weather)

    def _killed(self, manager: ManagerProcess, point: str) -> None:
        code = manager.kill()
        self._machine.disarm()
        if code != -signal.SIGKILL:
            self.story.ended_badly.append(f"exit code {code}: {self._place.log_end}")
        states = open_chunks(self._place.store)
        if states.total() > 1:
            self.story.ended_badly.append(f"{dict(states)} chunks are out on one QPU")
        self.story.kills.append(Kill(point, next(iter(states), None)))

    def _afterwards(self, *, clouded: bool) -> None:
        """While no manager is there: jobs end, or not; the weather changes, or not."""
        if clouded:
            self._cloud()
        if self._random.random() < 0.3:
            self._until(0.3, lambda: not self._machine.busy)
        if self._random.random() < 0.5:
            self._machine.heal()

    # -- waiting --------------------------------------------------------------------

    def _until_dead(
        self, manager: ManagerProcess, at_most_s: float, done: Callable[[], bool] = lambda: False
    ) -> None:
        self._until(at_most_s, lambda: manager.poll() is not None or done())

    def _nothing_to_do(self) -> bool:
        """No trap will be met any more. (Asked often, looked at ten times a second.)"""
        if time.monotonic() < self._look_at_s:
            return False
        self._look_at_s = time.monotonic() + _LOOK_AGAIN_S
        return self._users.idle and live_tasks(self._place.store) == 0

    def _until(self, at_most_s: float, done: Callable[[], bool]) -> None:
        until = time.monotonic() + at_most_s
        while time.monotonic() < until and not done():
            if self._operator is not None:
                self._operator.look()
            time.sleep(0.004)

    # -- the end --------------------------------------------------------------------

    def _finish(self) -> None:
        """Everybody gets what they submitted; then the manager ends in good order."""
        manager = self._start_manager({})
        if not manager.stdout.readline():
            raise RuntimeError(f"the last manager doesn't start: {self._place.log_end}")
        self._users.wait_for_results()
        self._until(_ENDS_WITHIN_S, lambda: self._users.done or manager.poll() is not None)
        if not self._users.done:
            code = manager.poll()
            manager.kill()
            raise TimeoutError(f"tasks don't end (manager: {code}): {self._place.log_end}")
        manager.send_signal(signal.SIGTERM)
        code = manager.wait(30.0)
        manager.kill()
        if code != 0:
            self.story.ended_badly.append(f"SIGTERM: exit code {code}: {self._place.log_end}")

    async def _evidence(self) -> Evidence:
        return await read_evidence(
            self._place.store,
            self._place.record,
            self._machine.ledger_path,
            self._users.wanted,
            self._users.told,
            self._users.results,
        )

    def _forked(self, arguments: Mapping[str, object]) -> ManagerProcess:
        more = {"site": str(self._place.site), "mutant": self._mutant, **arguments}
        return self._nursery.fork("manager", more, self._place.log)
