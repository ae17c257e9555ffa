"""Who may use which class and have which account charged, and what the refusals say."""

from __future__ import annotations

import pytest

from qpu_executor.errors import NotAllowed
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.auth.rights import OPEN, Rights
from qpu_executor.manager.auth.roles import Members
from qpu_executor.settings import parse_site

SITE = """
default_class: development
job_classes:
  production: {priority: 2, members: {users: [ada], groups: [root]}}
  development: {priority: 1}
accounts:
  science: {members: {users: [ada, bob]}}
  physics: {parent: science}
  chemistry: {parent: science, members: {users: [cyd]}}
  guests: {}
listed_accounts_only: true
qpus:
  alpha: {kind: simulated-qpu}
"""
ADA, BOB, CYD, DAN = (
    Caller(name, 5000 + n, "test") for n, name in enumerate(["ada", "bob", "cyd", "dan"])
)
OPERATOR = Caller("dan", 5003, "test", frozenset({Role.OPERATOR}))


@pytest.fixture(scope="module")
def rights() -> Rights:
    return parse_site(SITE, "site.yaml").rights()


def test_class_with_members_is_theirs_and_the_operators(rights: Rights) -> None:
    assert rights.may_use(ADA, "production")
    assert not rights.may_use(BOB, "production")
    assert rights.may_use(OPERATOR, "production")
    assert rights.may_use(BOB, "development")
    assert rights.may_use(Caller("anybody", 0, "test"), "production")  # by root's group


def test_account_without_members_has_those_of_the_one_above(rights: Rights) -> None:
    assert rights.account(BOB, "physics") == "physics"
    with pytest.raises(NotAllowed, match="bob may not charge account 'chemistry'") as refused:
        rights.account(BOB, "chemistry")
    assert refused.value.expected == "one of science, physics"
    assert rights.account(OPERATOR, "chemistry") == "chemistry"
    assert rights.account(DAN, "guests") == "guests"


def test_unlisted_account_is_refused_where_only_listed_ones_count(rights: Rights) -> None:
    with pytest.raises(NotAllowed, match=r"'sciense' \(did you mean 'science'\?\)"):
        rights.account(ADA, "sciense")
    assert OPEN.account(ADA, "sciense") == "sciense"


def test_account_of_who_names_none(rights: Rights) -> None:
    assert rights.account(CYD, None) == "chemistry"
    with pytest.raises(NotAllowed, match="several accounts") as which:
        rights.account(ADA, None)
    assert which.value.expected == "one of science, physics"
    with pytest.raises(NotAllowed, match="no account"):
        rights.account(DAN, None)
    assert OPEN.account(DAN, None) == "dan"


def test_own_name_goes_before_other_accounts() -> None:
    both = Members(frozenset({"ada"}))
    assert Rights({}, {"physics": both, "ada": both}).account(ADA, None) == "ada"
