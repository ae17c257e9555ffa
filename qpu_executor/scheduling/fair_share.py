"""Who has used how much of the QPUs lately, against what they were promised. Pure.

Usage is QPU-seconds that lose half of their weight in every half-life. It is
kept in inflated units: what is charged later weighs more, so that nothing has
to be swept while time passes, and fractions of usage move only when somebody
is charged. Accounts form a tree; users are the leaves. Those that have the
same parent share its time in proportion to their shares.

An account (among its siblings) or a user (among the account's users) is
*raised* while it is far above its share, and its tasks then go behind those of
its class that aren't. Raising and lowering have thresholds of their own, so
that nobody flips at every chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from qpu_executor.model.values import MICROSECONDS, Instant

REBASE_HALF_LIVES = 50
"""Half-lives after which the units are started anew (floats hold about 1000)."""

MOST_HALF_LIVES = 500.0
"""What was used longer ago is gone, whatever it was; and twice that doesn't fit into a float."""

UNITS_END = 2.0**REBASE_HALF_LIVES

FORGOTTEN_S = 1e-3
"""Decayed usage below which an account or user that isn't configured may be forgotten."""


@dataclass(frozen=True, slots=True)
class AccountShare:
    """An account. `shares`: its weight among its siblings; `parent`: None at the top."""

    name: str
    shares: float = 1.0
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class FairShareRules:
    """How usage is remembered, and when it is too much.

    `half_life_s`: seconds in which usage loses half of its weight. `band_up`,
    `band_down`: multiples of the share above which one is raised, and below which
    it is lowered again. `min_usage_s`: decayed seconds below which nobody is raised.
    `accounts`: the tree; an account that isn't in it is at the top with one share.
    """

    half_life_s: float = 86_400.0
    band_up: float = 4.0
    band_down: float = 3.0
    min_usage_s: float = 600.0
    accounts: tuple[AccountShare, ...] = ()


@dataclass(slots=True, eq=False)
class Siblings:
    """Those who divide one parent's time. `usage`: inflated, of all of them."""

    members: dict[str, Standing] = field(default_factory=dict)
    shares: float = 0.0
    usage: float = 0.0
    raised: list[Standing] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Standing:
    """Where an account or a user stands. `usage`: inflated. `live`: its buckets with live tasks.

    `over`: how many of itself and its ancestors are raised (an account's tasks go
    behind those of a class with a smaller number).
    """

    name: str
    shares: float
    siblings: Siblings
    parent: Standing | None
    configured: bool
    usage: float = 0.0
    raised: bool = False
    over: int = 0
    live: int = 0
    accounts: Siblings = field(default_factory=Siblings)
    users: Siblings = field(default_factory=Siblings)

    @property
    def share(self) -> float:
        """Promised fraction of the parent's time, 0 to 1."""
        return self.shares / self.siblings.shares

    @property
    def fraction(self) -> float:
        """Fraction of the siblings' decayed usage, 0 to 1."""
        return self.usage / self.siblings.usage if self.siblings.usage > 0.0 else 0.0

    @property
    def ratio(self) -> float:
        """Usage against share: 1 is what was promised."""
        return self.fraction / self.share

    def load(self) -> tuple[float, ...]:
        """Usage for each share, from the top account down to here; the smaller is owed time."""
        own = self.usage / self.shares
        return (own,) if self.parent is None else (*self.parent.load(), own)


@dataclass(frozen=True, slots=True)
class ShareView:
    """One line of `qpu share`. `user`: None for an account's own line. `usage_s`: decayed."""

    account: str
    user: str | None
    parent: str | None
    share: float
    fraction: float
    ratio: float
    usage_s: float
    raised: bool


class UsageLedger:
    """The tree of accounts and users with their decayed usage."""

    def __init__(self, rules: FairShareRules) -> None:
        self.rules = rules
        self._origin: Instant | None = None
        self._top = Siblings()
        self._accounts: dict[str, Standing] = {}
        by_name = {one.name: one for one in rules.accounts}
        for one in rules.accounts:
            self._configure(one, by_name)

    def standing(self, account: str, user: str) -> Standing:
        """The user's standing in an account; both are remembered from now on."""
        parent = self._accounts.get(account)
        if parent is None:
            parent = _join(self._top, account, 1.0, None, configured=False)
            self._accounts[account] = parent
        found = parent.users.members.get(user)
        return found or _join(parent.users, user, 1.0, parent, configured=False)

    def charge(self, user: Standing, seconds: float, at: Instant) -> bool:
        """Add to a user's usage and to the accounts above.

        True: somebody goes earlier than before, or the units changed, so that the
        order has to be looked at again. Those who go later are found out as they come.
        """
        if seconds <= 0.0:
            return False
        weight = self._weight(at)
        rebased = weight >= UNITS_END
        if rebased:
            self._rebase(at)
            weight = 1.0
        lowered = False
        added, least = seconds * weight, self.rules.min_usage_s * weight
        node: Standing | None = user
        while node is not None:
            siblings = node.siblings
            node.usage += added
            siblings.usage += added
            if node.usage > least or siblings.raised:
                lowered |= self._judge(node, weight)
            node = node.parent
        return rebased or lowered

    def give_back(self, user: Standing, seconds: float, at: Instant) -> bool:
        """Take back some of what a user was charged, at today's weight. True as for `charge`."""
        weight = self._weight(at)
        lowered = False
        node: Standing | None = user
        while node is not None:
            back = min(node.usage, seconds * weight)
            node.usage -= back
            node.siblings.usage -= back
            lowered |= self._judge(node, weight)
            node = node.parent
        return lowered

    def usage_s(self, node: Standing, now: Instant) -> float:
        """Decayed QPU-seconds."""
        return node.usage / self._weight(now) if self._origin is not None else 0.0

    def view(self, now: Instant) -> list[ShareView]:
        """Every account, each followed by its users, as they stand now."""
        lines = []
        for account in self._accounts.values():
            parent = None if account.parent is None else account.parent.name
            lines.append(self._line(account, account.name, None, parent, now))
            lines += [
                self._line(user, account.name, user.name, parent, now)
                for user in account.users.members.values()
            ]
        return lines

    def lines_of(self, user: Standing, now: Instant) -> tuple[ShareView, ShareView]:
        """Where a user's account and the user stand now."""
        account = user.parent
        assert account is not None, "a user without an account"
        above = None if account.parent is None else account.parent.name
        return (
            self._line(account, account.name, None, above, now),
            self._line(user, account.name, user.name, above, now),
        )

    # -- inside -----------------------------------------------------------------

    def _configure(self, one: AccountShare, by_name: dict[str, AccountShare]) -> Standing:
        found = self._accounts.get(one.name)
        if found is not None:
            return found
        above = by_name.get(one.parent) if one.parent is not None else None
        parent = None if above is None else self._configure(above, by_name)
        siblings = self._top if parent is None else parent.accounts
        made = _join(siblings, one.name, one.shares, parent, configured=True)
        self._accounts[one.name] = made
        return made

    def _weight(self, at: Instant) -> float:
        if self._origin is None:
            self._origin = at
        half_lives = (at - self._origin) / (self.rules.half_life_s * MICROSECONDS)
        return float(2.0 ** min(half_lives, MOST_HALF_LIVES))

    def _judge(self, node: Standing, weight: float) -> bool:
        """Raise a node that was just charged; lower its siblings. True if one was lowered."""
        siblings = node.siblings
        least = self.rules.min_usage_s * weight
        if not node.raised and node.usage > least and node.fraction > self._limit(node):
            siblings.raised.append(node)
            _set_raised(node, True)
        if not siblings.raised:
            return False
        down = self.rules.band_down / self.rules.band_up
        low = [
            one
            for one in siblings.raised
            if one.usage < least * down or one.fraction < self._limit(one) * down
        ]
        for one in low:
            siblings.raised.remove(one)
            _set_raised(one, False)
        return bool(low)

    def _limit(self, node: Standing) -> float:
        """Fraction of usage above which a node is raised: `band_up` times its share, or
        half of what is beyond its share where that is less (few, large shares)."""
        share = node.share
        return min(self.rules.band_up * share, (1.0 + share) / 2)

    def _rebase(self, at: Instant) -> None:
        """Start the units anew, and forget who hasn't been seen for long."""
        factor = 1.0 / self._weight(at)
        for siblings in self._all_siblings():
            siblings.usage = 0.0
            for name, node in list(siblings.members.items()):
                node.usage *= factor
                idle = not (node.live or node.raised or node.configured or node.users.members)
                if idle and node.usage < FORGOTTEN_S:
                    del siblings.members[name]
                    siblings.shares -= node.shares
                    if self._accounts.get(name) is node:
                        del self._accounts[name]
                else:
                    siblings.usage += node.usage
        self._origin = at

    def _all_siblings(self) -> Iterator[Siblings]:
        """Every group, users before the accounts that they belong to."""
        for account in list(self._accounts.values()):
            yield account.users
        for account in list(self._accounts.values()):
            yield account.accounts
        yield self._top

    def _line(
        self, node: Standing, account: str, user: str | None, parent: str | None, now: Instant
    ) -> ShareView:
        return ShareView(
            account=account,
            user=user,
            parent=parent,
            share=node.share,
            fraction=node.fraction,
            ratio=node.ratio,
            usage_s=self.usage_s(node, now),
            raised=node.raised,
        )


def _join(
    siblings: Siblings, name: str, shares: float, parent: Standing | None, *, configured: bool
) -> Standing:
    over = 0 if parent is None else parent.over
    made = Standing(name, shares, siblings, parent, configured, over=over)
    siblings.members[name] = made
    siblings.shares += shares
    return made


def _set_raised(node: Standing, raised: bool) -> None:
    node.raised = raised
    _count_raised(node)


def _count_raised(node: Standing) -> None:
    node.over = int(node.raised) + (0 if node.parent is None else node.parent.over)
    for group in (node.accounts, node.users):
        for below in group.members.values():
            _count_raised(below)
