"""Our authenticators against the suite that third parties run, and the chain of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from qpu_executor import munge
from qpu_executor.errors import NotAuthenticated, OperatorError, PluginRefused
from qpu_executor.manager.auth.authentication import Authentication
from qpu_executor.manager.auth.base import KnownToken, Place, Presented
from qpu_executor.manager.auth.caller import Caller, Role, caller_of_uid
from qpu_executor.manager.auth.registry import (
    build_authenticator,
    interface_mismatch,
    known_authenticators,
)
from qpu_executor.manager.auth.roles import Members, Roles
from qpu_executor.manager.auth.token import digest_of, new_token
from qpu_executor.testing.contracts.authenticator import *  # noqa: F403
from qpu_executor.testing.contracts.authenticator import NOW, Case
from qpu_executor.testing.munged import Munged


def bearer(token: str) -> Presented:
    return Presented({"authorization": f"Bearer {token}"})


def peer_case() -> Case:
    me = caller_of_uid(os.getuid(), "unix socket")
    unknown = NotAuthenticated("the kernel doesn't say")
    return Case("peer", {}, lambda: Presented({}, me), [Presented({}, unknown)], me.name)


def token_case() -> Case:
    tokens: dict[str, KnownToken] = {}

    def make(user: str, expires_at: int | None = None, revoked: bool = False) -> str:
        text, id_ = new_token()
        tokens[id_] = KnownToken(id_, digest_of(text), user, None, frozenset(), expires_at, revoked)
        return text

    good = make("ada", expires_at=NOW + 1)
    bad = [
        *(bearer(one) for one in ("", "x", "qpu_0123456789ab_" + "A" * 43, good[:-1] + "!")),
        bearer(good[:-1] + ("A" if good[-1] != "A" else "B")),
        bearer(make("bob", expires_at=NOW)),
        bearer(make("bob", revoked=True)),
        Presented({"authorization": "bearer"}),
    ]
    return Case("token", {}, lambda: bearer(good), bad, "ada", tokens)


def munge_case(daemon: Munged) -> Case:
    def fresh() -> Presented:
        made = munge.encode(socket=daemon.socket)
        return Presented({"authorization": f"MUNGE {made}"})

    used = munge.encode(socket=daemon.socket)
    munge.decode(used, socket=daemon.socket)
    bad = [Presented({"authorization": f"munge {one}"}) for one in ("", "x", used)]
    me = caller_of_uid(os.getuid(), "MUNGE").name
    return Case("munge", {"socket": daemon.socket}, fresh, bad, me)


CASES = ("munge", "peer", "token")


@pytest.fixture(scope="module")
def daemon(munged_installed: None) -> Iterator[Munged]:
    found = Munged()
    found.start()
    yield found
    found.close()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "munge":
        return munge_case(request.getfixturevalue("daemon"))
    return {"peer": peer_case, "token": token_case}[request.param]()


def test_ours_are_installed_by_the_same_door() -> None:
    assert set(known_authenticators()) >= set(CASES)


def test_every_installed_one_has_a_case() -> None:
    assert set(known_authenticators()) <= set(CASES)


# -- the chain, and what isn't an authenticator --------------------------------------------


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(PluginRefused, match="munge"):
        build_authenticator("mung", {}, Place(None, lambda: NOW))  # type: ignore[arg-type]


def test_what_lacks_a_member_is_refused_by_its_name() -> None:
    class NoClose:
        scheme, expects, across_hosts = None, "x", False

        async def open(self) -> None: ...

    assert interface_mismatch(NoClose()) == "'close' is missing"


async def test_presented_proof_goes_before_the_connection() -> None:
    tokens = token_case()
    chain = Authentication([peer_case().build(), tokens.build()], Roles())
    caller = await chain.caller_of(Presented(tokens.good().headers, peer_case().good().peer))
    assert caller.name == "ada"
    with pytest.raises(NotAuthenticated):
        await chain.caller_of(Presented(tokens.bad[0].headers, peer_case().good().peer))


async def test_nobody_is_told_what_would_do() -> None:
    chain = Authentication([token_case().build()], Roles())
    with pytest.raises(NotAuthenticated) as caught:
        await chain.caller_of(Presented({}, peer_case().good().peer))
    assert "bearer token" in str(caught.value.expected)
    assert chain.challenge == "Bearer"


async def test_dead_munged_is_busy_for_callers_and_refuses_to_start(daemon: Munged) -> None:
    case = munge_case(daemon)
    chain = Authentication([case.build()], Roles())
    await chain.open()
    proof = case.good()
    daemon.stop()
    try:
        with pytest.raises(Exception, match="can't check who is asking"):
            await chain.caller_of(proof)
        with pytest.raises(OperatorError, match="munged"):
            await case.build().open()
    finally:
        daemon.start()
    assert (await chain.caller_of(case.good())).name == case.name
    await chain.close()


@pytest.mark.parametrize(
    ("caller", "roles"),
    [
        (Caller("x", os.getuid(), "t"), {Role.OPERATOR}),
        (Caller("ops", 54321, "t"), {Role.OPERATOR}),
        (Caller("prolog", 54322, "t"), {Role.SERVICE}),
        (Caller("ada", 54323, "t"), set()),
        (Caller("ops", None, "token 1", frozenset()), set()),
    ],
)
def test_roles_are_the_sites_unless_the_proof_has_its_own(caller: Caller, roles: set[Role]) -> None:
    rules = Roles(Members(frozenset({"ops"})), Members(frozenset({"prolog"})))
    found = rules.applied(caller).roles
    assert found is not None
    assert set(found) - ({Role.SERVICE} if caller.uid == 0 else set()) == roles
