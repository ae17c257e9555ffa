"""Those who submit in a history: client processes of several users, some of them killed."""

from __future__ import annotations

import json
import os
import pwd
import random
import signal
from collections.abc import Mapping

from qpu_executor.testing.fault_matrix.forked import Forked, NurseryProcess
from qpu_executor.testing.fault_matrix.site import Place

_KILLED = 0.3
"""Part of the clients that are killed while they submit."""
_SHOTS = (5, 20, 30, 60, 90)


class Users:
    """`uids`: of the users (None: who runs this). Each has keys of its own."""

    def __init__(
        self,
        nursery: NurseryProcess,
        place: Place,
        uids: tuple[int | None, ...],
        chance: random.Random,
    ) -> None:
        self._nursery = nursery
        self._place = place
        self._uids = uids
        self._random = chance
        self._tasks: dict[int | None, dict[str, int]] = {uid: {} for uid in uids}
        self._running: list[Forked] = []
        self._doomed: list[Forked] = []

    def submit(self) -> None:
        """One user sends some more tasks; whoever is doomed from the last time dies."""
        self._kill_doomed()
        uid = self._random.choice(self._uids)
        mine = self._tasks[uid]
        new = {
            f"{'w' if uid is None else uid}-{len(mine) + n}": self._random.choice(_SHOTS)
            for n in range(self._random.choice((2, 3, 4)))
        }
        mine.update(new)
        # Sometimes with keys that were sent before, as a client that starts over does.
        again = dict(self._random.sample(sorted(mine.items()), k=min(2, len(mine))))
        client = self._client(uid, {**again, **new})
        (self._doomed if self._random.random() < _KILLED else self._running).append(client)

    def wait_for_results(self) -> None:
        """A last client of each user submits everything again, and waits for what it gets."""
        self._kill_doomed()
        for one in self._running:
            one.kill()
        self._running = [
            self._client(uid, tasks, results=True) for uid, tasks in self._tasks.items() if tasks
        ]

    @property
    def idle(self) -> bool:
        """Nobody submits anything at the moment."""
        return all(one.poll() is not None for one in (*self._running, *self._doomed))

    @property
    def done(self) -> bool:
        """Whether all of them have ended. Raises RuntimeError for one that failed."""
        codes = [one.poll() for one in self._running]
        if any(code not in (None, 0) for code in codes):
            raise RuntimeError(f"a client failed: {self._place.log_end}")
        return None not in codes

    def close(self) -> None:
        """End all of them."""
        for one in (*self._running, *self._doomed):
            one.kill()

    @property
    def wanted(self) -> dict[tuple[str, str], int]:
        """(user, key) -> shots."""
        return {
            (_name(uid), key): shots
            for uid, tasks in self._tasks.items()
            for key, shots in tasks.items()
        }

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """(user, key, task) for each acknowledgement."""
        found = []
        for uid in self._uids:
            path = self._place.directory / f"told-{uid}.jsonl"
            for line in path.read_text("utf-8").splitlines() if path.exists() else ():
                said = json.loads(line)
                found.append((_name(uid), said["key"], said["id"]))
        return found

    @property
    def results(self) -> dict[tuple[str, str], Mapping[str, int]]:
        """(user, key) -> counts."""
        found = {}
        for uid, tasks in self._tasks.items():
            if tasks:
                text = (self._place.directory / f"results-{uid}.json").read_text("utf-8")
                found.update({(_name(uid), key): one for key, one in json.loads(text).items()})
        return found

    def _kill_doomed(self) -> None:
        for one in self._doomed:
            one.send_signal(signal.SIGKILL)
            one.kill()
        self._doomed.clear()

    def _client(
        self, uid: int | None, tasks: Mapping[str, int], *, results: bool = False
    ) -> Forked:
        directory = self._place.directory
        arguments = {
            "url": self._place.url,
            "uid": uid,
            "tasks": tasks,
            "together": self._random.choice((1, 1, 10)),
            "told": str(directory / f"told-{uid}.jsonl"),
            "results": str(directory / f"results-{uid}.json") if results else None,
        }
        return self._nursery.fork("client", arguments, self._place.log)


def _name(uid: int | None) -> str:
    return pwd.getpwuid(os.getuid() if uid is None else uid).pw_name
