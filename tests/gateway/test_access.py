"""Who may call: tokens, passwords, renewal, API keys, roles, the first admin, hosts and origins."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.config import Settings
from runtime.gateway import account_command, accounts
from runtime.gateway.auth import Proxies, host_allowed, origin_allowed
from runtime.store import Store
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.gateway.running import PASSWORD, SECRET, Gate, bearer, running

LATER = 9_999_999_999


def strict(store: Store | None, tmp_path: Path, **more: Any) -> Settings:
    url = store._url if store else ""
    return Settings(
        mode="production", jwt_secret=SECRET, database_url=url, data_dir=str(tmp_path), **more
    )


@pytest.fixture
async def gate(nats: Nats, subjects: Subjects, store: Store, tmp_path: Path) -> AsyncIterator[Gate]:
    await account_command.added(store, "ann", "Ann", "ann@example.com", True, PASSWORD)
    await account_command.added(store, "bob", "Bob", "", False, PASSWORD)
    async with running(nats, subjects, strict(store, tmp_path, origins="https://a.example")) as one:
        await one.gateway.directory.read()
        yield one


# -- tokens


def unsigned(claims: dict[str, Any], head: dict[str, str], key: bytes = b"") -> str:
    """A token as an attacker writes it, where PyJWT would refuse to."""

    def part(told: Any) -> str:
        text = told if isinstance(told, bytes) else json.dumps(told).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    body = f"{part(head)}.{part(claims)}"
    sign = hmac.new(key, body.encode(), hashlib.sha256).digest() if key else b""
    return f"{body}.{part(sign)}"


async def test_a_token_is_good_only_if_signed_with_the_secret_and_in_time(gate: Gate) -> None:
    good = {"sub": "zoe", "exp": LATER}
    assert await gate.ask(jwt.encode(good, SECRET, "HS256")) == 200
    assert await gate.ask(jwt.encode({"user_id": "zoe", "exp": LATER}, SECRET, "HS256")) == 200
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    wrong = {
        "another secret": jwt.encode(good, "t" * 32, "HS256"),
        "expired": jwt.encode({**good, "exp": int(time.time()) - 60}, SECRET, "HS256"),
        "without an end": jwt.encode({"sub": "zoe"}, SECRET, "HS256"),
        "not yet": jwt.encode({**good, "nbf": LATER - 1}, SECRET, "HS256"),
        "unsigned": unsigned(good, {"alg": "none", "typ": "JWT"}),
        "unsigned, spelled otherwise": unsigned(good, {"alg": "None"}),
        "a key pair": jwt.encode(good, private, "RS256"),
        "a public key as a secret": unsigned(good, {"alg": "HS256"}, public),
        "nobody": jwt.encode({"exp": LATER}, SECRET, "HS256"),
        "no text": jwt.encode({"user_id": 7, "exp": LATER}, SECRET, "HS256"),
        "a name of nobody, as ours": jwt.encode({**good, "iss": "jetscan"}, SECRET, "HS256"),
        "nothing": "x",
        "no key": "jsk_unknown",
    }
    found = {name: await gate.ask(token) for name, token in wrong.items()}
    assert found == dict.fromkeys(wrong, 401)
    assert (await gate.http.get("/api/v1/rules")).headers["www-authenticate"] == "Bearer"


async def test_a_sealed_state_is_no_token_and_a_token_no_state(gate: Gate) -> None:
    tokens = gate.gateway.directory.tokens
    sealed = tokens.seal("oidc sign-in", {"sub": "ann", "roles": ["admin"]}, 60)
    assert await gate.ask(sealed) == 401
    assert tokens.unseal("oidc sign-in", sealed) is not None
    assert tokens.unseal("oidc sign-in", tokens.issue("ann", ["admin"], "x")) is None
    assert tokens.unseal("another", sealed) is None


async def test_roles_of_an_account_count_more_than_those_a_token_claims(gate: Gate) -> None:
    path = "/api/v1/admin/users"
    claims = {"sub": "zoe", "roles": ["admin", "god"], "exp": LATER}
    assert await gate.ask(jwt.encode(claims, SECRET, "HS256"), path) == 200
    assert await gate.ask(jwt.encode({**claims, "roles": "admin"}, SECRET, "HS256"), path) == 403
    assert await gate.ask(jwt.encode({**claims, "sub": "bob"}, SECRET, "HS256"), path) == 403
    assert await gate.ask(jwt.encode({"sub": "zoe", "exp": LATER}, SECRET, "HS256"), path) == 403


# -- passwords


async def test_a_password_signs_in_and_hands_out_tokens(gate: Gate) -> None:
    told = await gate.login("ann")
    assert told["user"] == {
        "user_id": "ann",
        "name": "Ann",
        "email": "ann@example.com",
        "roles": ["admin", "trader"],
    }
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 86_400)
    claims = jwt.decode(told["access_token"], SECRET, ["HS256"])
    assert (claims["sub"], claims["roles"]) == ("ann", ["admin", "trader"])
    assert await gate.ask(told["access_token"], "/api/v1/admin/users") == 200
    assert await gate.ask((await gate.login("bob"))["access_token"], "/api/v1/admin/users") == 403
    assert await gate.ask(told["refresh_token"]) == 401


@pytest.mark.parametrize("user", ["ann", "nobody"])
async def test_a_wrong_password_and_an_unknown_user_are_the_same_answer(
    gate: Gate, user: str
) -> None:
    body = {"user_id": user, "password": "wrong password"}
    answer = await gate.http.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "the user or the password is wrong"


async def test_an_unknown_user_costs_the_same_work(gate: Gate) -> None:
    passwords = gate.gateway.passwords
    kept = await passwords.hash(PASSWORD)
    await passwords.is_right("x", None)
    took = []
    for one in (kept, None):
        begun = time.perf_counter()
        for _ in range(3):
            assert not await passwords.is_right("wrong password", one)
        took.append(time.perf_counter() - begun)
    assert took[1] > took[0] / 3


async def test_guessing_is_slowed_for_this_user_and_address_only(gate: Gate) -> None:
    body = {"user_id": "ann", "password": "wrong password"}
    found = [await gate.http.post("/api/v1/auth/login", json=body) for _ in range(11)]
    assert [one.status_code for one in found] == [401] * 10 + [429]
    assert int(found[-1].headers["retry-after"]) > 0
    await gate.login("bob")


async def test_a_name_that_only_resembles_one_is_nobody_and_gains_no_further_guess(
    gate: Gate,
) -> None:
    for name in ("ann\0", "a\0nn", "ann\n"):
        answer = await gate.http.post(
            "/api/v1/auth/login", json={"user_id": name, "password": PASSWORD}
        )
        assert answer.status_code == 401, name
    await gate.login("ann")


async def test_only_a_hash_is_kept_of_passwords_tokens_and_keys(gate: Gate, store: Store) -> None:
    told = await gate.login("ann")
    made = await gate.http.post(
        "/api/v1/auth/keys", json={"name": "k"}, headers=bearer(told["access_token"])
    )
    kept = ""
    for table in ("users", "sign_ins", "refresh_tokens", "api_keys", "audit_log"):
        kept += str(await store.fetch(f"SELECT t::text FROM {table} AS t"))
    assert "$argon2id$" in kept
    for secret in (PASSWORD, told["refresh_token"], told["access_token"], made.json()["key"]):
        assert secret not in kept
        assert secret.encode().hex() not in kept


async def test_a_changed_password_ends_every_other_sign_in(gate: Gate) -> None:
    first, other = await gate.login("bob"), await gate.login("bob")
    foreign = jwt.encode({"sub": "bob", "iat": time.time() - 5, "exp": LATER}, SECRET, "HS256")
    assert await gate.ask(foreign) == 200
    path, headers = "/api/v1/auth/password", bearer(first["access_token"])
    change = {"password": "not it at all", "new_password": "another long password"}
    assert (await gate.http.post(path, json=change, headers=headers)).status_code == 403
    short = {"password": PASSWORD, "new_password": "short"}
    assert (await gate.http.post(path, json=short, headers=headers)).status_code == 400
    told = await gate.http.post(path, json={**change, "password": PASSWORD}, headers=headers)
    assert told.status_code == 200
    assert await gate.ask(told.json()["access_token"]) == 200
    for token in (first["access_token"], other["access_token"], foreign):
        assert await gate.ask(token) == 401
    again = {"refresh_token": other["refresh_token"]}
    assert (await gate.http.post("/api/v1/auth/refresh", json=again)).status_code == 401
    await gate.login("bob", "another long password")


# -- renewal and the end


async def renewed(gate: Gate, token: str) -> Any:
    return await gate.http.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def test_a_refresh_token_that_comes_again_ends_its_sign_in(gate: Gate, store: Store) -> None:
    told, other = await gate.login("bob"), await gate.login("bob")
    new = (await renewed(gate, told["refresh_token"])).json()
    assert await gate.ask(new["access_token"]) == 200
    assert (await renewed(gate, told["refresh_token"])).status_code == 200  # a second tab
    await store.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute'")
    assert (await renewed(gate, told["refresh_token"])).status_code == 401
    assert (await renewed(gate, new["refresh_token"])).status_code == 401
    assert await gate.ask(new["access_token"]) == 401
    assert await gate.ask(told["access_token"]) == 401
    assert await gate.ask(other["access_token"]) == 200
    assert (await renewed(gate, other["refresh_token"])).status_code == 200


async def test_a_refresh_token_ends_with_time_and_with_the_account(
    gate: Gate, store: Store
) -> None:
    told, other = await gate.login("bob"), await gate.login("bob")
    await store.execute(
        "UPDATE sign_ins SET expires_at = now() - interval '1 second' WHERE id = "
        "(SELECT sign_in FROM refresh_tokens WHERE hash = $1)",
        hashlib.sha256(told["refresh_token"].encode()).digest(),
    )
    assert (await renewed(gate, told["refresh_token"])).status_code == 401
    await store.run(lambda c: accounts.change(c, "bob", {"is_disabled": True}))
    assert (await renewed(gate, other["refresh_token"])).status_code == 401
    assert (await renewed(gate, "unknown")).status_code == 401
    assert (await gate.http.post("/api/v1/auth/refresh")).status_code == 401


async def test_a_cookie_renews_where_no_script_can_read_it(gate: Gate) -> None:
    told = await gate.login("bob", cookie=True)
    assert told.get("refresh_token") is None
    (cookie,) = gate.http.cookies.jar
    assert (cookie.name, cookie.path) == ("jetscan_refresh", "/api/v1/auth")
    answer = await gate.http.post("/api/v1/auth/refresh")
    assert answer.status_code == 200
    set_cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=Strict" in set_cookie
    assert answer.headers["cache-control"] == "no-store"
    foreign = {"Origin": "https://evil.example"}
    assert (await gate.http.post("/api/v1/auth/refresh", headers=foreign)).status_code == 403
    assert (await gate.http.post("/api/v1/auth/logout")).status_code == 200
    assert not list(gate.http.cookies.jar)
    assert await gate.ask(answer.json()["access_token"]) == 401


async def test_signing_out_ends_the_access_token_of_this_sign_in_only(gate: Gate) -> None:
    told, other = await gate.login("bob"), await gate.login("bob")
    out = await gate.http.post("/api/v1/auth/logout", headers=bearer(told["access_token"]))
    assert out.status_code == 200
    assert await gate.ask(told["access_token"]) == 401
    assert await gate.ask(other["access_token"]) == 200


async def test_what_another_process_revokes_is_refused_within_seconds(
    gate: Gate, store: Store
) -> None:
    token = (await gate.login("bob"))["access_token"]
    caller = gate.gateway.directory.caller(token)
    assert gate.gateway.directory.is_valid(caller)
    await account_command.with_password(store, "bob", "another long password")
    begun = time.monotonic()
    while await gate.ask(token) != 401:
        assert time.monotonic() - begun < 5
    assert not gate.gateway.directory.is_valid(caller)


# -- API keys


async def test_an_api_key_calls_until_it_is_removed(gate: Gate) -> None:
    token = (await gate.login("ann"))["access_token"]
    path, headers = "/api/v1/auth/keys", bearer(token)
    made = await gate.http.post(
        path, json={"name": "bot", "roles": ["trader"], "days": 1}, headers=headers
    )
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith("jsk_")
    assert await gate.ask(key) == 200
    assert await gate.ask(key, "/api/v1/admin/users") == 403
    listed = (await gate.http.get(path, headers=headers)).json()
    assert [(one["name"], one["roles"], "key" in one) for one in listed["keys"]] == [
        ("bot", ["trader"], False)
    ]
    assert (await gate.http.post(path, json={"name": "x"}, headers=bearer(key))).status_code == 403
    bob = (await gate.login("bob"))["access_token"]
    own = f"{path}/{made.json()['id']}"
    assert await gate.ask(bob, own, "DELETE") == 404
    assert await gate.ask(token, own, "DELETE") == 200
    assert await gate.ask(key) == 401


async def test_a_key_has_at_most_the_roles_of_its_owner_and_its_time(
    gate: Gate, store: Store
) -> None:
    bob = bearer((await gate.login("bob"))["access_token"])
    wanted = {"name": "k", "roles": ["admin"]}
    assert (await gate.http.post("/api/v1/auth/keys", json=wanted, headers=bob)).status_code == 403
    ann = bearer((await gate.login("ann"))["access_token"])
    key = (await gate.http.post("/api/v1/auth/keys", json={"name": "k"}, headers=ann)).json()["key"]
    assert await gate.ask(key, "/api/v1/admin/users") == 200
    await store.run(lambda c: accounts.change(c, "bob", {"roles": ["admin"]}))
    await store.run(lambda c: accounts.change(c, "ann", {"roles": ["trader"]}))
    await gate.gateway.directory.read()
    assert await gate.ask(key, "/api/v1/admin/users") == 403
    await store.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    await gate.gateway.directory.read()
    assert await gate.ask(key) == 401


# -- accounts


async def test_accounts_are_for_admins_and_the_last_admin_stays(gate: Gate) -> None:
    ann = bearer((await gate.login("ann"))["access_token"])
    bob = bearer((await gate.login("bob"))["access_token"])
    path = "/api/v1/admin/users"
    for method, place in (
        ("GET", path),
        ("POST", path),
        ("GET", f"{path}/ann"),
        ("PUT", f"{path}/ann"),
        ("DELETE", f"{path}/ann"),
        ("POST", f"{path}/ann/revoke"),
        ("GET", "/api/v1/admin/audit"),
    ):
        body = {"user_id": "eve"} if method != "GET" else None
        answer = await gate.http.request(method, place, json=body, headers=bob)
        assert answer.status_code == 403, (method, place)
    new = {"user_id": "cat", "roles": ["trader"], "password": PASSWORD}
    assert (await gate.http.post(path, json=new, headers=ann)).status_code == 201
    assert (await gate.http.post(path, json=new, headers=ann)).status_code == 409
    listed = (await gate.http.get(f"{path}?limit=2", headers=ann)).json()
    assert ([one["user_id"] for one in listed["users"]], listed["total"]) == (["ann", "bob"], 3)
    assert "password" not in str(listed)
    for change in ({"roles": ["trader"]}, {"enabled": False}):
        assert (await gate.http.put(f"{path}/ann", json=change, headers=ann)).status_code == 409
    assert (await gate.http.delete(f"{path}/ann", headers=ann)).status_code == 409
    token = (await gate.login("cat"))["access_token"]
    assert (
        await gate.http.put(f"{path}/cat", json={"enabled": False}, headers=ann)
    ).status_code == 200
    assert await gate.ask(token) == 401
    body = {"user_id": "cat", "password": PASSWORD}
    assert (await gate.http.post("/api/v1/auth/login", json=body)).status_code == 401
    assert (await gate.http.delete(f"{path}/cat", headers=ann)).status_code == 200
    assert (await gate.http.get(f"{path}/cat", headers=ann)).status_code == 404


async def test_a_token_of_a_removed_account_is_not_that_of_who_takes_the_name(
    gate: Gate, store: Store
) -> None:
    old = (await gate.login("bob"))["access_token"]
    await store.run(lambda c: accounts.remove(c, "bob"))
    kept = await gate.gateway.passwords.hash(PASSWORD)
    await store.run(lambda c: accounts.make(c, "bob", "", "", ["admin", "trader"], kept))
    await store.execute(
        "UPDATE users SET created_at = now() + interval '2 seconds' WHERE id = 'bob'"
    )
    await gate.gateway.directory.read()
    assert await gate.ask(old) == 401


async def test_an_admins_key_makes_no_accounts_and_no_passwords(gate: Gate) -> None:
    ann = bearer((await gate.login("ann"))["access_token"])
    key = (await gate.http.post("/api/v1/auth/keys", json={"name": "k"}, headers=ann)).json()["key"]
    body = {"user_id": "eve", "password": "a long password", "roles": ["admin"]}
    made = await gate.http.post("/api/v1/admin/users", json=body, headers=bearer(key))
    assert made.status_code == 403
    body = {"password": "a long password"}
    changed = await gate.http.put("/api/v1/admin/users/bob", json=body, headers=bearer(key))
    assert changed.status_code == 403
    assert await gate.ask(key, "/api/v1/admin/users") == 200


async def test_a_connection_with_a_role_that_was_taken_is_no_longer_valid(
    gate: Gate, store: Store
) -> None:
    directory = gate.gateway.directory
    caller = directory.caller(f"Bearer {(await gate.login('ann'))['access_token']}")
    await store.run(lambda c: accounts.change(c, "bob", {"roles": ["admin"]}))
    assert directory.is_valid(caller)
    await store.run(lambda c: accounts.change(c, "ann", {"roles": ["trader"]}))
    await directory.read()
    assert not directory.is_valid(caller)


@pytest.mark.parametrize("origin", ["http://[", "null", "http://[::1", "//"])
async def test_an_origin_that_is_no_address_may_not_call(gate: Gate, origin: str) -> None:
    answer = await gate.http.get("/api/v1/rules", headers={"Origin": origin})
    assert answer.status_code == 403


async def test_an_admin_ends_sign_ins_and_keys_of_an_account(gate: Gate) -> None:
    token = (await gate.login("bob"))["access_token"]
    made = await gate.http.post("/api/v1/auth/keys", json={"name": "k"}, headers=bearer(token))
    key = made.json()["key"]
    ann = (await gate.login("ann"))["access_token"]
    assert await gate.ask(ann, "/api/v1/admin/users/bob/revoke", "POST") == 200
    assert [await gate.ask(one) for one in (token, key, ann)] == [401, 401, 200]


# -- the first admin


async def test_the_first_admin_needs_a_code_that_only_this_machine_can_read(
    nats: Nats, subjects: Subjects, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(nats, subjects, strict(store, tmp_path)) as gate:
        await gate.gateway.directory.read()
        file = tmp_path / "setup.code"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        code = file.read_text().strip()
        assert (await gate.http.get("/api/v1/auth/methods")).json() == {
            "mode": "production",
            "password": True,
            "oidc": None,
            "setup": True,
        }
        body = {"code": "wrong", "user_id": "root", "password": PASSWORD}
        path = "/api/v1/auth/setup"
        assert (await gate.http.post(path, json=body)).status_code == 403
        weak = {**body, "code": code, "password": "root"}
        assert (await gate.http.post(path, json=weak)).status_code == 400
        made = await gate.http.post(path, json={**body, "code": code})
        assert made.status_code == 201
        assert await gate.ask(made.json()["access_token"], "/api/v1/admin/users") == 200
        assert not file.exists()
        again = await gate.http.post(path, json={**body, "code": code, "user_id": "eve"})
        assert again.status_code == 409
        assert (await gate.http.get("/api/v1/auth/methods")).json()["setup"] is False
        shown = capsys.readouterr()
        assert str(file) in shown.out + shown.err
        assert code not in shown.out + shown.err


async def test_without_a_database_tokens_from_outside_call_and_signing_in_says_what_is_missing(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(nats, subjects, strict(None, tmp_path)) as gate:
        assert await gate.ask(jwt.encode({"sub": "zoe", "exp": LATER}, SECRET, "HS256")) == 200
        answer = await gate.http.post(
            "/api/v1/auth/login", json={"user_id": "zoe", "password": "x"}
        )
        assert answer.status_code == 503
        assert (await gate.http.get("/api/v1/auth/methods")).json()["password"] is False


async def test_in_local_mode_nothing_has_to_be_set_up(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    async with running(nats, subjects, Settings(data_dir=str(tmp_path))) as gate:
        assert (await gate.http.get("/api/v1/rules")).status_code == 200
        assert (
            await gate.http.get("/api/v1/admin/audit")
        ).status_code == 503  # an admin, no database
        assert (await gate.http.get("/api/v1/rules", headers=bearer("x"))).status_code == 401
        foreign = {"Host": "evil.example:8090"}
        rebound = await gate.http.get("/api/v1/rules", headers=foreign)
        assert rebound.status_code == 403
        assert "JETSCAN_ORIGINS" in rebound.json()["detail"]
    assert not (tmp_path / "setup.code").exists()


# -- origins, hosts, proxies


async def test_only_listed_origins_may_read_answers(gate: Gate) -> None:
    token = bearer((await gate.login("bob"))["access_token"])
    listed = await gate.http.get("/api/v1/rules", headers={**token, "Origin": "https://a.example"})
    assert listed.headers["access-control-allow-origin"] == "https://a.example"
    assert "Origin" in listed.headers["vary"]
    assert "ETag" in listed.headers["access-control-expose-headers"]
    for origin in ("https://b.example", "https://a.example.evil", "http://a.example", "null"):
        other = await gate.http.get("/api/v1/rules", headers={**token, "Origin": origin})
        assert other.status_code == 403, origin
        assert "access-control-allow-origin" not in other.headers
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    before = await gate.http.options("/api/v1/rules", headers=asked)
    assert before.status_code == 200
    assert "If-Match" in before.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1:8090", True),
        ("[::1]:8090", True),
        ("localhost:8090", True),
        ("nas:8090", True),
        ("nas.local", True),
        ("a.example", True),
        ("evil.example:8090", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_an_instance_without_tokens_is_called_by_names_that_nobody_can_register(
    host: str, is_allowed: bool
) -> None:
    settings = Settings(origins="https://a.example")
    assert host_allowed(settings, host) is is_allowed
    assert origin_allowed(settings, f"http://{host}", host) is is_allowed


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, none", "10.0.0.1"),
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
    ],
)
def test_only_proxies_of_ours_say_whom_they_speak_for(
    remote: str, forwarded: str, address: str
) -> None:
    proxies = Proxies(Settings(proxies="10.0.0.0/24, 192.168.1.1"))
    assert proxies.address(remote, forwarded) == address
    assert Proxies(Settings()).address(remote, forwarded) == remote
