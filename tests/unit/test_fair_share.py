"""Usage that decays, shares in a tree, and bands with hysteresis."""

from __future__ import annotations

import pytest

from qpu_executor.model.values import MICROSECONDS
from qpu_executor.scheduling.fair_share import (
    REBASE_HALF_LIVES,
    AccountShare,
    FairShareRules,
    Standing,
    UsageLedger,
)

HOUR = 3600 * MICROSECONDS
TEN = tuple(AccountShare(f"a{i}") for i in range(10))


def ledger(**rules: object) -> UsageLedger:
    return UsageLedger(FairShareRules(**{"half_life_s": 3600.0, "min_usage_s": 0.0, **rules}))  # type: ignore[arg-type]


def over(one: Standing) -> int:
    return one.over


def usage_s(book: UsageLedger, account: str, user: str, now: int) -> float:
    return book.usage_s(book.standing(account, user), now)


def test_usage_halves_with_every_half_life() -> None:
    book = ledger()
    book.charge(book.standing("physics", "ada"), 100.0, 0)
    assert usage_s(book, "physics", "ada", 0) == pytest.approx(100.0)
    assert usage_s(book, "physics", "ada", HOUR) == pytest.approx(50.0)
    book.charge(book.standing("physics", "ada"), 10.0, 2 * HOUR)
    assert usage_s(book, "physics", "ada", 2 * HOUR) == pytest.approx(35.0)
    assert book.view(2 * HOUR)[0].usage_s == pytest.approx(35.0)


def test_fractions_of_usage_dont_move_while_time_passes() -> None:
    book = ledger()
    ada, bob = book.standing("physics", "ada"), book.standing("chemistry", "bob")
    book.charge(ada, 30.0, 0)
    book.charge(bob, 10.0, 0)
    assert ada.parent is not None
    assert [line.fraction for line in book.view(9 * HOUR) if line.user is None] == [0.75, 0.25]
    assert ada.parent.ratio == pytest.approx(1.5)


def test_account_is_raised_above_four_times_its_share_and_lowered_below_three() -> None:
    book = ledger(accounts=TEN)
    greedy = book.standing("a0", "ada")
    others = [book.standing(f"a{i}", "bob") for i in range(1, 10)]
    for one in others:
        book.charge(one, 10.0, 0)
    book.charge(greedy, 58.0, 0)  # 39 %
    assert over(greedy) == 0
    assert not book.charge(greedy, 5.0, 0)  # 41 %: later than before is found out as it comes
    assert over(greedy) == 1
    book.charge(others[0], 50.0, 0)  # 31 %: still
    assert over(greedy) == 1
    assert book.charge(others[1], 10.0, 0)  # 29 %
    assert over(greedy) == 0


def test_nobody_is_raised_below_the_least_usage() -> None:
    book = ledger(accounts=TEN, min_usage_s=600.0)
    ada = book.standing("a0", "ada")
    book.charge(ada, 599.0, 0)
    assert over(ada) == 0
    book.charge(ada, 2.0, 0)
    assert over(ada) == 1


def test_few_large_shares_are_raised_half_way_to_everything() -> None:
    book = ledger()
    ada, bob = book.standing("physics", "ada"), book.standing("chemistry", "bob")
    book.charge(bob, 30.0, 0)
    book.charge(ada, 80.0, 0)
    assert over(ada) == 0  # 73 % with a share of 50
    book.charge(ada, 20.0, 0)
    assert over(ada) == 1


def test_only_account_is_never_raised() -> None:
    book = ledger()
    ada = book.standing("physics", "ada")
    book.charge(ada, 1e6, 0)
    assert over(ada) == 0


def test_user_is_raised_among_the_users_of_the_account_only() -> None:
    book = ledger()
    ada, bob = book.standing("physics", "ada"), book.standing("physics", "bob")
    book.charge(book.standing("chemistry", "cyd"), 100.0, 0)
    book.charge(bob, 1.0, 0)
    book.charge(ada, 99.0, 0)
    assert ada.raised
    assert ada.parent is not None
    assert not ada.parent.raised
    assert over(bob) == 0


def test_shares_of_a_tree_are_compared_level_by_level() -> None:
    tree = (
        AccountShare("science", 3.0),
        AccountShare("industry", 1.0),
        AccountShare("physics", 1.0, parent="science"),
        AccountShare("chemistry", 1.0, parent="science"),
    )
    book = ledger(accounts=tree)
    ada, bob = book.standing("physics", "ada"), book.standing("industry", "bob")
    book.charge(ada, 60.0, 0)
    book.charge(bob, 40.0, 0)
    assert ada.load() == pytest.approx((20.0, 60.0, 60.0))
    assert ada.load() < bob.load()
    assert ada.parent is not None
    assert ada.parent.raised  # all of science's usage, with half of its shares
    lines = {line.account: line for line in book.view(0) if line.user is None}
    assert lines["physics"].parent == "science"
    assert lines["science"].share == pytest.approx(0.75)


def test_children_of_a_raised_account_count_as_over() -> None:
    book = ledger(accounts=(AccountShare("top"), AccountShare("sub", parent="top"), *TEN))
    ada = book.standing("sub", "ada")
    book.charge(ada, 10.0, 0)
    assert ada.parent is not None
    assert (ada.parent.raised, ada.over) == (False, 1)


def test_new_units_keep_usage_and_order_and_forget_the_long_gone() -> None:
    book = ledger(accounts=(AccountShare("configured"),))
    ada, gone = book.standing("physics", "ada"), book.standing("long-ago", "bob")
    book.charge(gone, 5.0, 0)
    book.charge(ada, 8.0, 0)
    ada.live = 1
    much_later = (REBASE_HALF_LIVES + 1) * HOUR
    assert book.charge(ada, 100.0, much_later)
    assert book.usage_s(ada, much_later) == pytest.approx(100.0)
    lines = [(line.account, line.user) for line in book.view(much_later)]
    assert lines == [("configured", None), ("physics", None), ("physics", "ada")]
    assert ada.share == 1.0
    assert ada.parent is not None
    assert ada.parent.fraction == 1.0


def test_a_pause_of_thousands_of_half_lives_forgets_and_breaks_nothing() -> None:
    book = ledger()
    ada = book.standing("physics", "ada")
    book.charge(ada, 8.0, 0)
    ada.live = 1
    much_later = 5000 * HOUR
    assert book.usage_s(ada, much_later) == pytest.approx(0.0)
    assert book.view(much_later)[0].usage_s == pytest.approx(0.0)
    assert not book.give_back(ada, 1.0, much_later)
    assert book.charge(ada, 100.0, much_later)
    assert book.usage_s(ada, much_later) == pytest.approx(100.0)
    assert book.usage_s(ada, much_later + HOUR) == pytest.approx(50.0)


def test_charging_nothing_changes_nothing() -> None:
    book = ledger()
    assert not book.charge(book.standing("physics", "ada"), 0.0, HOUR)
    assert usage_s(book, "physics", "ada", HOUR) == 0.0
