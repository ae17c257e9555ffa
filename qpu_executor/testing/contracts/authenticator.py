"""What every authenticator has to pass. Yours, in a test file of your own:

from qpu_executor.testing.contracts.authenticator import *

@pytest.fixture
def case():
    good = Presented({"authorization": "Portal secret"})
    return Case("portal", {}, lambda: good, [Presented({"authorization": "Portal x"})], "ada")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from qpu_executor.errors import ConfigError, NotAuthenticated
from qpu_executor.manager.auth.base import Authenticator, KnownToken, Place, Presented
from qpu_executor.manager.auth.registry import build_authenticator, interface_mismatch

NOW = 1_000_000
"""The manager's time, in microseconds."""


@dataclass
class Case:
    """How one kind is built and what is presented to it.

    `good` makes a new proof each time, `bad` are wrong ones, `name` is the caller's that the
    good ones prove. `tokens`: those that the manager's store knows, by id.
    """

    kind: str
    settings: dict[str, object]
    good: Callable[[], Presented]
    bad: list[Presented]
    name: str
    tokens: dict[str, KnownToken] = field(default_factory=dict)

    def build(self) -> Authenticator:
        """A new one, by its entry point."""

        async def find(token_id: str) -> KnownToken | None:
            return self.tokens.get(token_id)

        return build_authenticator(self.kind, self.settings, Place(find, lambda: NOW))


@pytest_asyncio.fixture
async def found(case: Case) -> AsyncIterator[Authenticator]:
    """An opened one."""
    authenticator = case.build()
    await authenticator.open()
    yield authenticator
    await authenticator.close()


async def nobody_is_known(token_id: str) -> KnownToken | None:
    """A store without tokens."""
    return None


def test_it_fits_the_interface(case: Case) -> None:
    assert interface_mismatch(case.build()) is None


@pytest.mark.asyncio
async def test_nothing_presented_is_nobody(found: Authenticator) -> None:
    assert await found.caller_of(Presented()) is None
    assert await found.caller_of(Presented({"authorization": "Basic YTpi"})) is None


@pytest.mark.asyncio
async def test_good_proof_names_the_caller_and_how(case: Case, found: Authenticator) -> None:
    caller = await found.caller_of(case.good())
    assert caller is not None
    assert (caller.name, bool(caller.how)) == (case.name, True)


@pytest.mark.asyncio
async def test_wrong_proof_is_refused_and_the_next_good_one_taken(
    case: Case, found: Authenticator
) -> None:
    for one in case.bad:
        with pytest.raises(NotAuthenticated):
            await found.caller_of(one)
    assert await found.caller_of(case.good()) is not None


@pytest.mark.asyncio
async def test_many_at_once_are_each_answered(case: Case, found: Authenticator) -> None:
    asked = [case.good() for _ in range(20)]
    callers = await asyncio.gather(*(found.caller_of(one) for one in asked))
    assert {caller and caller.name for caller in callers} == {case.name}


@pytest.mark.asyncio
async def test_words_for_the_refused(found: Authenticator) -> None:
    assert found.expects
    assert found.scheme is None or found.scheme.isalnum()
    assert isinstance(found.across_hosts, bool)


@pytest.mark.asyncio
async def test_closing_twice_and_opening_again_work(case: Case) -> None:
    authenticator = case.build()
    await authenticator.close()
    await authenticator.open()
    await authenticator.close()
    await authenticator.close()
    await authenticator.open()
    assert await authenticator.caller_of(case.good()) is not None
    await authenticator.close()


def test_unknown_setting_is_refused(case: Case) -> None:
    settings = {**case.settings, "sokcet": 1}
    with pytest.raises(ConfigError, match="sokcet"):
        build_authenticator(case.kind, settings, Place(nobody_is_known, lambda: NOW))
