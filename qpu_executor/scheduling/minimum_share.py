"""Which classes are owed QPU time: each has its minimum share while it has work. Pure.

Every class with a minimum share has a balance in seconds. At the end of each
chunk, the classes that had work for that QPU are credited their share of its
time, and the one whose chunk it was is debited all of it. A class with a
balance above zero is owed time, and goes first at the next chunk boundary,
whatever the policy says.

What a class had beyond its share counts against it, but no more than the share of
`horizon_s`. So a class with work is served at the latest once `horizon_s` of open
QPU time have gone by without it, and gets its share of all time after that. The
time in which a class has no work earns it nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from qpu_executor.model.values import JobClass

DEFAULT_HORIZON_S = 1800.0
"""How long, in seconds of open QPU time, a class lives on what it had before."""


class MinimumShares:
    """The balances of the classes that have a minimum share.

    `classes`: those that have one. `all_owed`: those that are owed QPU time, the one that
    is owed the most first.
    """

    def __init__(self, horizon_s: float = DEFAULT_HORIZON_S) -> None:
        self._horizon_s = horizon_s
        self._shares: dict[str, float] = {}
        self._balance: dict[str, float] = {}
        self.classes: Sequence[str] = ()
        self.all_owed: Sequence[str] = ()

    def define(self, classes: Sequence[JobClass]) -> None:
        """The site's classes are now these; balances of classes that stay are kept."""
        self.classes = [one.name for one in classes if one.min_share > 0.0]
        self._shares = {one.name: one.min_share for one in classes if one.min_share > 0.0}
        self._balance = {name: self._balance.get(name, 0.0) for name in self._shares}
        self._find_owed()

    def balance_s(self, job_class: str) -> float:
        """Seconds that a class is owed (negative: it had more); 0 for one without a share."""
        return self._balance.get(job_class, 0.0)

    def chunk_ended(self, served: str, waiting: Collection[str], seconds: float) -> None:
        """A chunk of class `served` took `seconds` of a QPU that `waiting` classes wanted too."""
        for name, share in self._shares.items():
            balance = self._balance[name]
            if name == served:
                balance += (share - 1.0) * seconds
            elif name in waiting:
                balance += share * seconds
            self._balance[name] = max(balance, -share * self._horizon_s)
        self._find_owed()

    def owed(self, waiting: Iterable[str]) -> str | None:
        """Of these classes, the one that is owed the most; None if none is owed anything."""
        return next((name for name in self.all_owed if name in waiting), None)

    def _find_owed(self) -> None:
        owed = [name for name, balance in self._balance.items() if balance > 0.0]
        self.all_owed = sorted(owed, key=self._balance.__getitem__, reverse=True)
