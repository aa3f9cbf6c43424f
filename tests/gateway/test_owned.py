"""What belongs to users: rules, watchlists, subscriptions, channels, preferences; and what admins do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
import pytest

from runtime.frames import Frame, decode, encode, texts
from runtime.gateway.channels import TESTS_MAX
from tests.conftest import database_in
from tests.gateway.deployment import Running, hosted, running

SECRET = "s" * 32
RULE = {"id": "r1", "name": "Up", "when": "price > 5"}
MINE = {"id": "mine", "name": "Mine", "symbols": ["AAPL"]}
HOOK = {"name": "hook", "kind": "webhook", "url": "https://10.0.0.1/path", "secret": "hush"}


class People:
    """A gateway and three who call it."""

    def __init__(self, made: Running) -> None:
        self.made = made
        self.ann, self.bob = self.caller("ann"), self.caller("bob")
        self.root = self.caller("root", "admin")

    def caller(self, name: str, *roles: str) -> httpx.AsyncClient:
        claims = {"sub": name, "exp": 9_999_999_999, "roles": ["trader", *roles]}
        token = jwt.encode(claims, SECRET, "HS256")
        address = f"{self.made.http.base_url}/api/v1"
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=address, headers=headers, timeout=30)

    async def body(self) -> dict[str, Any]:
        """The newest control body of a partition."""
        (message,) = await self.made.bus.history("MARKET", "control.0", 1)
        frame = decode(message.data, self.made.subjects.record_of("control"))
        return dict(json.loads(frame["body"][0]))

    async def profile(self) -> dict[str, Any]:
        """The newest profile that was told."""
        (message,) = await self.made.bus.history("ALERTS", "alerts.control", 1)
        frame = decode(message.data, self.made.subjects.record_of("alerts.control"))
        return dict(json.loads(frame["body"][0]))


@pytest.fixture
async def people(tmp_path: Path, postgres: str, template: str) -> AsyncIterator[People]:
    url = await database_in(postgres, template)
    async with running(tmp_path, url, mode="production", jwt_secret=SECRET) as made:
        people = People(made)
        async with people.ann, people.bob, people.root:
            yield people


async def test_a_rule_is_its_authors_and_counts_its_versions(people: People) -> None:
    made = await people.ann.post("/rules", json={**RULE, "user_id": "bob", "version": 9})
    assert (made.status_code, made.json()["user_id"], made.json()["version"]) == (201, "ann", 1)
    assert made.headers["etag"] == '"1"'
    changed = await people.ann.put("/rules/r1", json={**RULE, "name": "Two"})
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"2"')
    stale = await people.ann.put("/rules/r1", json=RULE, headers={"If-Match": '"1"'})
    assert (stale.status_code, "version 2" in stale.json()["detail"]) == (412, True)
    fresh = await people.ann.put("/rules/r1", json=RULE, headers={"If-Match": '"2"'})
    assert (fresh.status_code, fresh.json()["version"]) == (200, 3)
    known = await people.ann.get("/rules/r1", headers={"If-None-Match": '"3"'})
    assert (known.status_code, known.content) == (304, b"")
    gone = await people.ann.delete("/rules/r1", headers={"If-Match": '"2"'})
    assert gone.status_code == 412


async def test_what_a_rule_was_is_kept_until_it_is_deleted(people: People) -> None:
    await people.ann.post("/rules", json=RULE)
    await people.ann.put("/rules/r1", json={**RULE, "name": "Two"})
    found = (await people.ann.get("/rules/r1/versions")).json()
    assert [(one["version"], one["rule"]["name"]) for one in found["versions"]] == [
        (2, "Two"),
        (1, "Up"),
    ]
    assert found["versions"][0]["changed_by"] == "ann"
    await people.ann.delete("/rules/r1")
    await people.ann.post("/rules", json={**RULE, "name": "Anew"})
    after = (await people.ann.get("/rules/r1/versions")).json()["versions"]
    assert [one["rule"]["name"] for one in after] == ["Anew"]


async def test_a_shared_rule_is_seen_by_others_and_changed_by_its_owner_and_admins(
    people: People,
) -> None:
    await people.ann.post("/rules", json=RULE)
    assert (await people.bob.get("/rules")).json()["count"] == 0
    assert (await people.root.get("/rules")).json()["count"] == 1
    await people.ann.put("/rules/r1", json={**RULE, "shared": True})
    assert (await people.bob.get("/rules")).json()["count"] == 1
    assert (await people.bob.put("/rules/r1", json=RULE)).status_code == 403
    assert (await people.bob.delete("/rules/r1")).status_code == 403
    changed = await people.root.put("/rules/r1", json=RULE)
    assert (changed.json()["user_id"], changed.json()["version"]) == ("ann", 3)
    wrong = await people.ann.put("/rules/r1", json={**RULE, "shared": "yes"})
    assert (wrong.status_code, wrong.json()["detail"]) == (
        400,
        "shared: expected true or false, found 'yes'",
    )


async def test_a_rule_in_a_watchlist_has_the_symbols_of_its_owner_as_they_change(
    people: People,
) -> None:
    await people.bob.post("/watchlists", json={**MINE, "symbols": ["BOB"]})
    rule = {"id": "r1", "name": "Up", "when": "price > 5 in watchlist mine"}
    refused = await people.ann.post("/rules", json=rule)
    assert (refused.status_code, "a watchlist of the rule's owner" in refused.text) == (400, True)
    await people.ann.post("/watchlists", json=MINE)
    assert (await people.ann.post("/rules", json=rule)).status_code == 201
    assert (await people.body())["watchlists"] == {"ann": {"mine": ["AAPL"]}}
    await people.ann.put("/watchlists/mine/symbols/BTC/USD")
    assert (await people.body())["watchlists"] == {"ann": {"mine": ["AAPL", "BTC/USD"]}}
    await people.ann.delete("/watchlists/mine/symbols/AAPL")
    assert (await people.body())["watchlists"] == {"ann": {"mine": ["BTC/USD"]}}
    await people.bob.delete("/watchlists/mine")
    kept = await people.ann.delete("/watchlists/mine")
    assert (kept.status_code, "rules name it: r1" in kept.json()["detail"]) == (409, True)


async def test_watchlists_are_made_filled_changed_and_bounded(people: People) -> None:
    made = await people.ann.post("/watchlists", json=MINE)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert (await people.ann.post("/watchlists", json=MINE)).status_code == 409
    path = "/watchlists/mine"
    more = await people.ann.post(f"{path}/symbols", json={"text": "msft, AAPL\nnvda"})
    assert more.json()["symbols"] == ["AAPL", "MSFT", "NVDA"]
    same = await people.ann.put(f"{path}/symbols/NVDA")
    assert (same.status_code, same.json()["version"]) == (200, 2)
    stale = await people.ann.put(path, json=MINE, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    wrong = await people.ann.put(f"{path}/symbols/a%20b")
    assert (wrong.status_code, "expected a symbol" in wrong.json()["detail"]) == (400, True)
    many = " ".join(f"S{k}" for k in range(1_000))
    full = await people.ann.post(f"{path}/symbols", json={"text": many})
    assert (full.status_code, "1000 symbols" in full.json()["detail"]) == (413, True)
    told = (await people.ann.get("/watchlists")).json()
    assert (told["count"], told["total"], len(told["watchlists"][0]["symbols"])) == (1, 1, 3)


async def test_subscriptions_are_told_with_the_watchlists_as_they_change(people: People) -> None:
    await people.ann.post("/watchlists", json=MINE)
    wanted = {"subscriptions": [{"watchlists": ["mine"]}], "cooldown_s": 60}
    put = await people.ann.put(
        "/user/subscriptions", json={**wanted, "watchlists": {"mine": ["X"]}}
    )
    assert put.status_code == 200, put.text
    assert await people.profile() == {**wanted, "watchlists": {"mine": ["AAPL"]}}
    read = (await people.ann.get("/user/subscriptions")).json()
    assert (read["subscriptions"], read["cooldown_s"]) == (wanted["subscriptions"], 60)
    await people.ann.put("/watchlists/mine/symbols/MSFT")
    assert (await people.profile())["watchlists"] == {"mine": ["AAPL", "MSFT"]}
    kept = await people.ann.delete("/watchlists/mine")
    assert (kept.status_code, "subscription" in kept.json()["detail"]) == (409, True)
    wrong = await people.ann.put("/user/subscriptions", json={"cooldown_s": "x"})
    assert (wrong.status_code, "cooldown_s: expected" in wrong.json()["detail"]) == (400, True)
    assert (await people.bob.get("/user/subscriptions")).json()["subscriptions"] == []


async def test_secrets_of_a_channel_go_in_and_never_come_out(people: People) -> None:
    made = await people.ann.post("/channels", json=HOOK)
    assert made.status_code == 201
    listed = await people.ann.get("/channels")
    for text in (made.text, listed.text, (await people.ann.get("/channels/hook")).text):
        assert "hush" not in text
        assert "/path" not in text
    shown = listed.json()["channels"][0]
    moved = await people.ann.put("/channels/hook", json={**shown, "kind": "webhook"})
    assert moved.status_code == 200, moved.text
    entry = await people.made.bus.kv("channels").get("ann.hook")
    assert entry is not None
    kept = {name: value for name, value in HOOK.items() if name != "name"}
    assert json.loads(entry.value) == kept
    wrong = await people.ann.put("/channels/hook", json={"kind": "telegram", "chat_id": "1"})
    assert (wrong.status_code, "a telegram wants texts" in wrong.json()["detail"]) == (400, True)
    assert (await people.ann.delete("/channels/hook")).status_code == 200
    assert await people.made.bus.kv("channels").get("ann.hook") is None


async def test_a_test_goes_out_as_alerts_do_and_never_to_a_private_address(people: People) -> None:
    await people.ann.post("/channels", json=HOOK)
    told = (await people.ann.post("/channels/hook/test")).json()
    assert (told["ok"], "expected a public address" in told["detail"]) == (False, True)
    for _ in range(TESTS_MAX - 1):
        assert (await people.ann.post("/channels/hook/test")).status_code == 200
    more = await people.ann.post("/channels/hook/test")
    assert (more.status_code, "retry-after" in more.headers) == (429, True)


async def test_preferences_and_profile_are_kept_for_each_user(people: People) -> None:
    assert (await people.ann.get("/user/preferences")).json() == {}
    await people.ann.put("/user/preferences", json={"theme": "dark", "list": [1, 2]})
    assert (await people.ann.get("/user/preferences")).json() == {"theme": "dark", "list": [1, 2]}
    assert (await people.bob.get("/user/preferences")).json() == {}
    large = await people.ann.put("/user/preferences", json={"x": "y" * (64 << 10)})
    assert large.status_code == 413
    said = await people.ann.put("/user/profile", json={"name": "Ann", "user_id": "root"})
    assert said.json() == {"user_id": "ann", "message": "Profile updated"}
    assert (await people.ann.get("/user/profile")).json() == {
        "user_id": "ann",
        "email": "",
        "name": "Ann",
    }


async def test_admins_pause_functions_and_see_lag_and_everybody_the_lamps(people: People) -> None:
    for method, path in [
        ("GET", "/admin/functions"),
        ("GET", "/admin/lag"),
        ("GET", "/admin/dead"),
        ("GET", "/admin/dead/1"),
        ("POST", "/admin/functions/scanner/pause"),
    ]:
        assert (await people.ann.request(method, path)).status_code == 403, path
    async with hosted(people.made):
        async with asyncio.timeout(30):
            while True:
                told = (await people.root.get("/admin/functions")).json()["functions"]
                scanner = next(one for one in told if one["name"] == "scanner")
                if scanner["state"] == "running":
                    break
        assert (scanner["chain"], scanner["partitions"] > 0) == ("market", True)
        paused = (await people.root.post("/admin/functions/scanner/pause")).json()
        assert (paused["state"], "bars" in paused["beside"]) == ("paused", True)
        told = (await people.root.get("/admin/functions")).json()["functions"]
        states = {one["name"]: one["state"] for one in told}
        assert (states["scanner"], states["alerts"]) == ("paused", "running")
        await people.root.post("/admin/functions/scanner/resume")
        lag = (await people.root.get("/admin/lag")).json()
        assert lag["workers"] == 1
        status = (await people.ann.get("/status")).json()
    assert status["alerts"]["state"] in ("ok", "not hosted")
    assert status["engine_lag_ms"] == 0.0
    assert status["data_age_ms"] is None
    assert (await people.root.post("/admin/functions/none/pause")).status_code == 404
    assert (await people.root.get("/admin/dead")).json()["dead"] == []


async def test_a_recorded_day_is_no_old_data_and_says_that_it_is_one(people: People) -> None:
    columns = {
        "ts_ns": np.array([1_767_623_400_000_000_000]),
        "price": np.ones(1),
        "size": np.ones(1),
    }
    frame = Frame(columns, ["AAPL"], np.zeros(1, dtype=int), "test")
    record = people.made.subjects.record_of("ticks.trades")
    await people.made.bus.put("ticks.trades.0", encode(frame, record))
    status = (await people.ann.get("/status")).json()
    assert 0 <= status["data_age_ms"] < 60_000
    assert status["is_replay"] is True


async def test_alerts_of_a_private_rule_stay_its_owners_when_it_is_deleted(people: People) -> None:
    await people.ann.post("/rules", json=RULE)
    await people.made.bus.put("alerts.filtered", _alert(people, "r1"))
    async with asyncio.timeout(20):
        while not (await people.root.get("/alerts")).json()["alerts"]:
            await asyncio.sleep(0.02)
    assert (await people.ann.delete("/rules/r1")).status_code == 200
    heard = [(await one.get("/alerts")).json()["count"] for one in (people.ann, people.bob)]
    assert heard == [1, 0]
    assert (await people.bob.get("/alerts/id-1")).status_code == 404
    assert (await people.root.get("/alerts/id-1")).status_code == 200
    taken = await people.bob.post("/rules", json=RULE)
    assert (taken.status_code, "was somebody's" in taken.json()["detail"]) == (409, True)
    assert (await people.ann.post("/rules", json=RULE)).status_code == 201


def _alert(people: People, rule: str) -> bytes:
    columns: dict[str, Any] = {"ts_ns": np.array([10**18]), "price": np.ones(1)}
    columns["number"] = np.array([1])
    for name, text in (("id", "id-1"), ("rule_id", rule), ("rule_name", "Up"), ("values", "{}")):
        columns[name] = texts([text])
    frame = Frame(columns, ["AAPL"], np.zeros(1, dtype=int), "alerts")
    return encode(frame, people.made.subjects.record_of("alerts.filtered"))
