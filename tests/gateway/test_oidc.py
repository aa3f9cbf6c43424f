"""Signing in by an OpenID provider: a real HTTP server that is right, and wrong in every way it can be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.config import Settings
from runtime.gateway import account_command, provider
from runtime.gateway.oidc import _path
from runtime.store import Store
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.gateway.openid import CLIENT, CLIENT_SECRET, OpenId, openid
from tests.gateway.running import PASSWORD, SECRET, Gate, bearer, running

ZOE = {"sub": "4711", "name": "Zoe", "preferred_username": "zoe", "email": "zoe@firm.example"}
BASE = "/api/v1/auth/oidc"


@contextlib.asynccontextmanager
async def both(
    nats: Nats, subjects: Subjects, store: Store, tmp_path: Path, **more: Any
) -> AsyncIterator[tuple[Gate, OpenId]]:
    async with openid() as there:
        there.person = {**ZOE, "email_verified": True}
        settings = Settings(
            mode="production",
            jwt_secret=SECRET,
            database_url=store._url,
            data_dir=str(tmp_path),
            oidc_issuer=there.issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=CLIENT_SECRET,
            oidc_name="Firm",
            **{"oidc_allowed": "firm.example", **more},
        )
        async with running(nats, subjects, settings) as gate:
            yield gate, there


@pytest.fixture
async def pair(
    nats: Nats, subjects: Subjects, store: Store, tmp_path: Path
) -> AsyncIterator[tuple[Gate, OpenId]]:
    async with both(nats, subjects, store, tmp_path) as found:
        yield found


async def signed_in(gate: Gate, there: OpenId, **changed: str) -> httpx.Response:
    begun = await gate.http.get(f"{BASE}/login", params={"next": "/#alerts"})
    assert begun.status_code == 302
    back = {**there.sign_in(begun.headers["location"]), **changed}
    return await gate.http.get(f"{BASE}/callback", params=back)


async def test_whoever_the_provider_signs_in_has_an_account_from_then_on(
    pair: tuple[Gate, OpenId], store: Store
) -> None:
    gate, there = pair
    assert (await gate.http.get("/api/v1/auth/methods")).json()["oidc"] == {"name": "Firm"}
    for _ in range(2):
        answer = await signed_in(gate, there)
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"] == "/#alerts"
    assert CLIENT_SECRET not in str(answer.headers)
    told = (await gate.http.post("/api/v1/auth/refresh")).json()
    assert told["user"]["user_id"] == "zoe"
    assert told["user"]["roles"] == ["trader"]
    assert await gate.ask(told["access_token"]) == 200
    assert len(await store.fetch("SELECT FROM users")) == 1
    assert there.asked("/.well-known/openid-configuration") == 1
    assert there.asked("/keys") == 1


async def test_an_identity_never_becomes_an_account_that_is_there(
    pair: tuple[Gate, OpenId], store: Store
) -> None:
    gate, there = pair
    await account_command.added(store, "zoe", "", ZOE["email"], True, PASSWORD)
    assert (await signed_in(gate, there)).status_code == 302
    user = (await gate.http.post("/api/v1/auth/refresh")).json()["user"]
    assert user["user_id"].startswith("zoe-")
    assert user["roles"] == ["trader"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"aud": "another-client"}, "Audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"azp": "another-client"}, "another client"),
        ({"sub": None}, "sub"),
    ],
    ids=str,
)
async def test_a_token_for_somebody_or_something_else_is_refused(
    pair: tuple[Gate, OpenId], wrong: dict[str, Any], says: str
) -> None:
    gate, there = pair
    there.wrong = wrong
    answer = await signed_in(gate, there)
    assert answer.status_code == 502
    assert says.lower() in answer.json()["detail"].lower()
    assert (await gate.http.post("/api/v1/auth/refresh")).status_code == 401


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(
    pair: tuple[Gate, OpenId],
) -> None:
    gate, there = pair
    there.is_confused = True
    assert (await signed_in(gate, there)).status_code == 502


async def test_a_new_key_is_asked_for_once_in_a_while(
    pair: tuple[Gate, OpenId], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, there = pair
    assert (await signed_in(gate, there)).status_code == 302
    there.new_key("two")
    assert (await signed_in(gate, there)).status_code == 502
    assert there.asked("/keys") == 1
    monkeypatch.setattr(provider, "AGAIN_S", 0.0)
    assert (await signed_in(gate, there)).status_code == 302
    assert there.asked("/keys") == 2


async def test_a_sign_in_that_another_browser_began_is_refused(pair: tuple[Gate, OpenId]) -> None:
    gate, there = pair
    assert (await signed_in(gate, there, state="another")).status_code == 400
    begun = await gate.http.get(f"{BASE}/login")
    back = there.sign_in(begun.headers["location"])
    async with httpx.AsyncClient(base_url=f"http://{gate.address}") as victim:
        assert (await victim.get(f"{BASE}/callback", params=back)).status_code == 400
    assert (await signed_in(gate, there, iss="https://evil.example")).status_code == 400
    assert (await signed_in(gate, there, code="", error="access_denied")).status_code == 403
    used = await signed_in(gate, there, code="code-unknown")
    assert used.status_code == 502


@pytest.mark.parametrize(
    "person",
    [
        {"email": "zoe@other.example"},
        {"email": "zoe@firm.example.evil"},
        {"email_verified": False},
        {"email": "firm.example"},
        {"email": None},
    ],
    ids=str,
)
async def test_only_those_of_the_setting_may_sign_in(
    pair: tuple[Gate, OpenId], person: dict[str, Any]
) -> None:
    gate, there = pair
    there.wrong = person
    assert (await signed_in(gate, there)).status_code == 403


async def test_roles_come_with_the_token_where_the_setting_says_so(
    nats: Nats, subjects: Subjects, store: Store, tmp_path: Path
) -> None:
    more = {"oidc_allowed": "*", "oidc_roles_claim": "groups"}
    await account_command.added(store, "root", "", "", True, PASSWORD)
    async with both(nats, subjects, store, tmp_path, **more) as (gate, there):
        for groups, roles in ((["admin", "x"], ["admin"]), (["trader"], ["trader"])):
            there.wrong = {"groups": groups}
            assert (await signed_in(gate, there)).status_code == 302
            told = (await gate.http.post("/api/v1/auth/refresh")).json()
            assert told["user"]["roles"] == roles
            expected = 200 if "admin" in roles else 403
            headers = bearer(told["access_token"])
            answer = await gate.http.get("/api/v1/admin/users", headers=headers)
            assert answer.status_code == expected
        there.wrong = {"groups": []}
        assert (await signed_in(gate, there)).status_code == 403


async def test_a_provider_that_is_away_costs_a_problem_not_the_gateway(
    pair: tuple[Gate, OpenId],
) -> None:
    gate, there = pair
    there.answer = lambda _: (500, {}, b"down")  # type: ignore[method-assign]
    assert there.server is not None
    there.server.answer = there.answer
    answer = await gate.http.get(f"{BASE}/login")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "told", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "", "a"]
)
def test_the_way_back_leads_to_this_page_only(told: str) -> None:
    assert _path(told) == "/"
    assert _path("/#alerts?x=1") == "/#alerts?x=1"
