"""What a task's counted shots say about its stopping rule. Pure; no manager, no clock.

The standard error isn't the naive one, s / sqrt(n): equal shots would make that 0, and a
task would stop because it has seen too little. Four made-up shots are added, two at each
end of the observable's range. For a single qubit this is the interval of A. Agresti and
B. A. Coull, "Approximate is better than 'exact' for interval estimation of binomial
proportions", The American Statistician 52 (1998) 119-126 (two successes and two failures
more). For any bounded observable it puts about range^2 / n on top of the variance, as
Y. S. Chow and H. Robbins, "On the asymptotic theory of fixed-width sequential confidence
intervals for the mean", Annals of Mathematical Statistics 36 (1965) 457-462, put 1 / n on
top of it in their stopping rule. n equal shots at an end of the range have a standard
error of about 1.4 range / n; it comes below a bound only with enough of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from qpu_executor.model.stopping import StopRule

ADDED_AT_EACH_END = 2
"""Made-up shots at each end of the range (Agresti and Coull)."""


class Observable:
    """A diagonal observable: its range, and its value for a bitstring.

    `low`, `high`: the sums of its terms' least and greatest values. No bitstring lies
    outside; where terms exclude each other none may reach them, which is on the safe side.
    """

    def __init__(self, terms: tuple[tuple[str, float], ...]) -> None:
        self._qubits = len(terms[0][0])
        self._terms = [
            (_mask(label, "Z"), _mask(label, "01"), _mask(label, "1"), coefficient)
            for label, coefficient in terms
        ]
        self.low = self.high = 0.0
        for label, coefficient in terms:
            if set(label) == {"I"}:
                least, most = coefficient, coefficient
            elif "Z" in label:
                least, most = -abs(coefficient), abs(coefficient)
            else:
                least, most = min(0.0, coefficient), max(0.0, coefficient)
            self.low += least
            self.high += most

    def fits(self, bits: str) -> bool:
        """Whether a bitstring has a bit for every character of the labels."""
        return len(bits) == self._qubits and set(bits) <= {"0", "1"}

    def value(self, bits: str) -> float:
        """The observable for one shot. Raises ValueError for what is no bitstring."""
        shot = int(bits, 2)
        total = 0.0
        for signs, projected, ones, coefficient in self._terms:
            if shot & projected == ones:
                total += -coefficient if (shot & signs).bit_count() & 1 else coefficient
        return total


class Evidence:
    """The shots of one task, added chunk by chunk. `shots`: how many there are."""

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self._observable = Observable(rule.observable) if rule.observable else None
        self.clear()

    def clear(self) -> None:
        """Forget all shots: they count no longer."""
        self.shots = 0
        self._seen: Counter[str] = Counter()
        self._sum = self._squares = 0.0
        self._misfit: str | None = None

    def add(self, counts: Mapping[str, int]) -> None:
        """Take in the counted shots of a chunk."""
        self.shots += sum(counts.values())
        observable = self._observable
        if observable is None:
            self._seen.update(counts)
            return
        middle = (observable.low + observable.high) / 2  # about it, so that less cancels out
        for bits, times in counts.items():
            if not observable.fits(bits):
                self._misfit = bits
                continue
            value = observable.value(bits) - middle
            self._sum += times * value
            self._squares += times * value * value

    def joined(self, counts: Mapping[str, int]) -> Evidence:
        """These shots and the ones of another chunk, without a change to these."""
        both = Evidence(self._rule)
        both.shots, both._seen, both._misfit = self.shots, self._seen.copy(), self._misfit
        both._sum, both._squares = self._sum, self._squares
        both.add(counts)
        return both

    def stderr(self) -> float:
        """The standard error of the observable's mean, with the made-up shots."""
        assert self._observable is not None
        half = (self._observable.high - self._observable.low) / 2
        shots = self.shots + 2 * ADDED_AT_EACH_END
        squares = self._squares + 2 * ADDED_AT_EACH_END * half * half
        mean = self._sum / shots
        return math.sqrt(max(0.0, squares / shots - mean * mean) / shots)

    def distinct(self) -> int:
        """Bitstrings that were seen as often as the rule wants."""
        return sum(times >= self._rule.seen for times in self._seen.values())

    @property
    def met(self) -> bool:
        """Whether the rule is met. Never before its `min_shots` are there."""
        rule = self._rule
        if self.shots < rule.min_shots or self._misfit is not None:
            return False
        if rule.stderr is not None:
            return self.stderr() <= rule.stderr
        return self.distinct() >= (rule.distinct or 0)

    def __str__(self) -> str:
        """Where it stands, in words."""
        rule, after = self._rule, f"after {self.shots} shots"
        if self._misfit is not None:
            return f"it can't be judged: the labels don't fit the bitstring {self._misfit!r}"
        if not self.shots:
            return "no shots yet"
        if rule.stderr is not None:
            return f"standard error {self.stderr():.3g} {after} (at most {rule.stderr:g} wanted)"
        often = "" if rule.seen == 1 else f" seen {rule.seen} times or more"
        found = f"{self.distinct()} distinct bitstrings{often}"
        return f"{found} {after} ({rule.distinct} wanted)"


def _mask(label: str, letters: str) -> int:
    """The qubits of a label that have one of these letters, as the bits of a number."""
    return int("".join("1" if letter in letters else "0" for letter in label), 2)
