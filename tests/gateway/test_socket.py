"""The WebSocket: who may come in, what may be followed, what a hostile or slow client can and cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import msgpack
import numpy as np
import pytest
import websockets

from runtime.frames import Frame, encode, texts
from runtime.gateway import directory, keeper
from runtime.gateway.keeper import Keeper
from runtime.gateway.socket import Conversation
from runtime.gateway.updates import JSON, MSGPACK, Update
from runtime.gateway.wanted import Wanted
from tests.conftest import ROOT
from tests.gateway.deployment import Running, hosted, running

SECRET = "s" * 32
PRODUCTION = {"mode": "production", "jwt_secret": SECRET}


def token(user: str, roles: tuple[str, ...] = ("trader",), until_s: float = 9_999_999_999) -> str:
    return jwt.encode({"sub": user, "roles": list(roles), "exp": until_s}, SECRET, "HS256")


@contextlib.asynccontextmanager
async def connected(made: Running, user: str = "", **options: Any) -> AsyncIterator[Any]:
    if user:
        options["additional_headers"] = {"Authorization": f"Bearer {token(user)}"}
    url = str(made.http.base_url).replace("http", "ws") + "/ws"
    async with websockets.connect(url, **options) as client:
        yield client


async def say(client: Any, **message: Any) -> None:
    await client.send(json.dumps(message))


async def heard(client: Any, kind: str) -> Any:
    """The next message of a kind."""
    async with asyncio.timeout(5):
        while True:
            told = await client.recv()
            message = msgpack.unpackb(told) if isinstance(told, bytes) else json.loads(told)
            if message["type"] == kind:
                return message


async def asked(client: Any, **message: Any) -> Any:
    """The answer to a message that succeeds."""
    await say(client, **message)
    return (await heard(client, "success"))["data"]


async def told(client: Any) -> list[int]:
    """The numbers of the alerts that came until now."""
    await say(client, type="ping")
    numbers = []
    async with asyncio.timeout(5):
        while True:
            message = json.loads(await client.recv())
            if message["type"] == "pong":
                return numbers
            if message["type"] == "alert":
                numbers.append(message["data"]["seq"])


async def alert(made: Running, number: int, symbol: str = "A", rule: str = "r1") -> None:
    columns = {
        "ts_ns": np.array([number * 10**9]),
        "price": np.array([1.5]),
        "id": texts([f"id-{number}"]),
        "rule_id": texts([rule]),
        "rule_name": texts(["Up"]),
        "values": texts(['{"metrics":{"price":1.5}}']),
        "number": np.array([number]),
    }
    frame = Frame(columns, [symbol], np.zeros(1, dtype=int), "alerts")
    await made.bus.put("alerts.filtered", encode(frame, made.subjects.record_of("alerts.filtered")))
    while made.gateway.hub.newest < number:
        await asyncio.sleep(0.005)


async def closed(client: Any) -> tuple[int, str]:
    """Code and reason of the end of a connection."""
    with pytest.raises(websockets.ConnectionClosed) as caught:
        async with asyncio.timeout(10):
            while True:
                await client.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


# -- who comes in


async def test_a_client_tells_who_it_is_in_its_first_message(tmp_path: Path) -> None:
    async with running(tmp_path, **PRODUCTION) as made, connected(made) as client:
        await say(client, type="subscribe", symbols=["A"])
        assert (await heard(client, "error"))["code"] == "unauthorized"
        await alert(made, 1)
        assert await told(client) == []  # nothing is told to a stranger
        answer = await asked(client, type="auth", token=token("ann"))
        assert answer["action"] == "authenticated"
        assert (answer["data"]["user_id"], answer["data"]["roles"]) == ("ann", ["trader"])
        await alert(made, 2)
        assert await told(client) == [2]


async def test_a_stranger_and_a_wrong_token_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AUTH_S", 0.2)
    monkeypatch.setattr(keeper, "LOOK_S", 0.05)
    async with running(tmp_path, **PRODUCTION) as made:
        async with connected(made) as client:
            assert await closed(client) == (1008, "no token within 0.2 s")
        async with connected(made) as client:
            await say(client, type="auth", token="x.y.z")
            assert (await heard(client, "error"))["code"] == "unauthorized"
            assert (await closed(client))[0] == 1008
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connected(made, additional_headers={"Authorization": "Bearer x.y.z"}):
                pass
        assert caught.value.response.status_code == 401
        while made.gateway.following.count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("is_taken", "status"), [(True, 101), (False, 401)])
async def test_a_token_in_the_address_is_taken_only_where_that_is_switched_on(
    tmp_path: Path, is_taken: bool, status: int
) -> None:
    async with running(tmp_path, **PRODUCTION, token_in_url=is_taken) as made:
        url = str(made.http.base_url).replace("http", "ws") + f"/ws?token={token('ann')}"
        if is_taken:
            async with websockets.connect(url):
                (client,) = made.gateway.hub.clients
                assert client.user == "ann"
            return
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with websockets.connect(url):
                pass
        assert caught.value.response.status_code == status


async def test_a_token_that_ends_ends_its_connection_unless_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, **PRODUCTION) as made, connected(made) as renewed:
        soon_s = time.time() + 100
        await asked(renewed, type="auth", token=token("ann", until_s=soon_s))
        async with connected(made) as other:
            await asked(other, type="auth", token=token("ann", until_s=soon_s))
            answer = await asked(renewed, type="auth", token=token("ann"))
            assert answer["data"]["expires_in"] > 1000
            with monkeypatch.context() as later:
                later.setattr(directory.time, "time", lambda: soon_s + 1)
                await Keeper(made.gateway.following).look(time.monotonic())
            assert await closed(other) == (1008, "the token is not valid any more")
        assert await told(renewed) == []


async def test_a_connection_stays_that_of_its_user(tmp_path: Path) -> None:
    async with running(tmp_path, **PRODUCTION) as made, connected(made, "ann") as client:
        await say(client, type="auth", token=token("bob"))
        assert await closed(client) == (1008, "another user")


async def test_connections_are_limited_in_all_and_by_user(tmp_path: Path) -> None:
    limits = {"websocket_connections_max": 3, "websocket_connections_of_user_max": 2}
    async with (
        running(tmp_path, **PRODUCTION, **limits) as made,
        connected(made, "ann"),
        connected(made, "ann") as second,
    ):
        await told(second)
        async with connected(made, "ann") as third:
            assert await closed(third) == (1008, "at most 2 connections of a user")
        while made.gateway.following.count > 2:
            await asyncio.sleep(0.01)
        async with connected(made, "bob") as other:
            await told(other)
            with pytest.raises(websockets.InvalidStatus) as caught:
                async with connected(made, "cid"):
                    pass
            assert caught.value.response.status_code == 503


# -- what is followed


def test_what_is_named_alone_is_wanted_beside_what_is_named_together() -> None:
    none: frozenset[str] = frozenset()
    wanted = Wanted()
    assert wanted.takes("r9", "Z")
    wanted.add(none, frozenset({"A"}), none)
    wanted.add(frozenset({"r2"}), none, none)
    wanted.add(frozenset({"r3"}), frozenset({"C"}), frozenset({"tech"}))
    wanted.look_up({"tech": frozenset({"T"})})
    found = [(r, s) for r in ("r1", "r2", "r3") for s in "ACTZ" if wanted.takes(r, s)]
    assert found == [("r1", "A"), *(("r2", s) for s in "ACTZ"), ("r3", "A"), ("r3", "C"), ("r3", "T")]  # fmt: skip
    wanted.remove(frozenset({"r3"}), frozenset({"C"}), frozenset({"tech"}))
    assert not wanted.takes("r3", "T")
    with pytest.raises(ValueError, match="at most 2000 subscriptions"):
        wanted.add(none, frozenset(str(k) for k in range(2_001)), none)


async def test_alerts_come_by_symbol_rule_and_watchlist_as_the_lists_change(tmp_path: Path) -> None:
    lists = {"tech": frozenset({"T"})}

    async def watchlists(user: str) -> dict[str, frozenset[str]]:
        return lists if user == "ann" else {}

    async with running(tmp_path, **PRODUCTION) as made:
        made.gateway.watchlists = watchlists
        async with connected(made, "ann") as ann, connected(made, "bob") as bob:
            await asked(ann, type="subscribe", watchlists=["tech"])
            await asked(bob, type="subscribe", rules=["r2"])
            await say(bob, type="subscribe", watchlists=["tech"])
            assert "no list of yours" in (await heard(bob, "error"))["message"]
            for number, (symbol, rule) in enumerate([("T", "r1"), ("U", "r2"), ("V", "r1")], 1):
                await alert(made, number, symbol, rule)
            assert (await told(ann), await told(bob)) == ([1], [2])
            lists["tech"] = frozenset({"V"})
            await made.gateway.following.look_up_watchlists("ann")
            await alert(made, 4, "V")
            await alert(made, 5, "T")
            assert await told(ann) == [4]


async def test_alerts_of_somebody_elses_rule_are_not_heard(tmp_path: Path) -> None:
    async with running(tmp_path, **PRODUCTION) as made:
        rule = {"id": "own", "name": "Own", "when": "price > 1", "user_id": "ann"}
        await keep(made, rule)
        async with connected(made, "ann") as ann, connected(made, "bob") as bob:
            await asked(bob, type="subscribe", rules=["own"])
            await alert(made, 1, rule="own")
            assert (await told(ann), await told(bob)) == ([1], [])
            await keep(made, {**rule, "shared": True})
            await alert(made, 2, rule="own")
            assert await told(bob) == [2]


async def keep(made: Running, rule: dict[str, Any]) -> None:
    """A rule as it lies in the bucket, known to the gateway."""
    await made.bus.kv("rules").put(rule["id"], json.dumps(rule).encode())
    while made.gateway.rules.things.get(rule["id"]) != rule:
        await asyncio.sleep(0.01)


async def test_msgpack_carries_the_same_messages(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as made,
        connected(made, subprotocols=["jetscan.msgpack"]) as packed,
        connected(made) as plain,
    ):
        assert (packed.subprotocol, plain.subprotocol) == ("jetscan.msgpack", None)
        await packed.send(msgpack.packb({"type": "subscribe", "symbols": ["A"]}))
        assert (await heard(packed, "success"))["data"]["action"] == "subscribed"
        await told(plain)
        await alert(made, 1)
        assert await heard(packed, "alert") == await heard(plain, "alert")


def test_a_message_is_encoded_once_for_each_way_of_writing() -> None:
    update = Update({"type": "pong", "seq": 3})
    assert update.frame(JSON) is update.frame(JSON)
    assert json.loads(update.payload(JSON)) == msgpack.unpackb(update.payload(MSGPACK))
    assert (update.frame(JSON)[0], update.frame(MSGPACK)[0]) == (0x81, 0x82)


async def test_live_metrics_come_from_the_worker_once_for_all_who_follow(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as made,
        hosted(made),
        connected(made) as one,
        connected(made) as other,
    ):
        await say(one, type="subscribe_metrics", symbol="AAPL", names=["prise"])
        assert "price" in (await heard(one, "error"))["message"]
        for client in (one, other):
            await asked(client, type="subscribe_metrics", symbol="AAPL", names=["price"])
        untold = (await heard(one, "metrics"))["data"]
        assert untold["metrics"] == {"price": None}
        assert "nothing has been heard" in untold["missing"]["price"]
        assert (await heard(other, "metrics"))["data"] == untold
        await trade(made, "AAPL", 187.5)
        first, second = await heard(one, "metrics"), await heard(other, "metrics")
        assert first == second
        assert first["data"]["metrics"] == {"price": 187.5}
        await trade(made, "AAPL", 188.0)
        assert (await heard(one, "metrics"))["data"]["metrics"] == {"price": 188.0}
        await asked(one, type="unsubscribe_metrics", symbol="AAPL")
        await asked(other, type="unsubscribe_metrics", symbol="AAPL")
        assert made.gateway.hub.topics == {}


async def trade(made: Running, symbol: str, price: float) -> None:
    body = {"ts_ns": time.time_ns(), "price": price, "size": 100}
    await made.bus.put(f"ticks.raw.{symbol}", json.dumps(body).encode())


async def test_functions_are_for_admins(tmp_path: Path) -> None:
    async with (
        running(tmp_path, **PRODUCTION) as made,
        hosted(made),
        connected(made, "ann") as ann,
        connected(made) as root,
    ):
        await say(ann, type="subscribe_functions")
        assert (await heard(ann, "error"))["code"] == "unauthorized"
        await asked(root, type="auth", token=token("root", ("admin",)))
        await asked(root, type="subscribe_functions")
        async with asyncio.timeout(20):
            while not (rows := (await heard(root, "functions"))["data"]):
                pass
        assert {"unit", "worker", "pending", "paused"} <= rows[0].keys()


# -- resuming


async def test_what_the_ring_holds_no_more_comes_from_the_database(
    tmp_path: Path, postgres: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.gateway import ring
    from tests.conftest import database_in

    monkeypatch.setattr(ring, "RING_MAX", 2)
    url = await database_in(postgres, template)
    async with running(tmp_path, url) as made:
        for number in (2, 3):  # 1 was never stored
            await made.store.execute(
                "INSERT INTO alert_history (id, rule_id, rule_name, symbol, timestamp, price, ts_ns, number, kind)"
                f" VALUES ('id-{number}', 'r1', 'Up', 'A', now(), 1.5, {number}000000000, {number}, 'fired')"
            )
        for number in range(1, 6):
            await alert(made, number)
        async with connected(made) as client:
            await asked(client, type="resume", after=0)
            gap = await heard(client, "gap")
            assert (gap["from"], gap["to"]) == (1, 1)
            late = [await heard(client, "alert") for _ in range(4)]
            assert [one["data"]["seq"] for one in late] == [2, 3, 4, 5]
            assert all(one["late"] for one in late)


async def test_no_alert_overtakes_the_ones_that_are_resumed(tmp_path: Path) -> None:
    async with running(tmp_path) as made:
        for number in (1, 2):
            await alert(made, number)
        async with connected(made) as client:
            await alert(made, 3)
            await say(client, type="resume", after=0)
            assert await told(client) == [1, 2, 3]
        async with connected(made) as client:
            await alert(made, 4)  # who does not resume has it all the same
            assert (await heard(client, "alert"))["data"]["seq"] == 4


# -- toplists that are no more


async def test_a_deleted_list_is_forgotten_and_its_followers_are_told(tmp_path: Path) -> None:
    cheap = {"id": "cheap", "name": "Cheap", "metric": "change_pct", "time_window": "5m"}
    async with running(tmp_path) as made, connected(made) as client:
        path = "/api/v1/toplists/user"
        assert (await made.http.post(path, json=cheap)).status_code == 201
        await asked(client, type="subscribe_toplist", toplist_id="cheap")
        await rank(made, "cheap", 1, "toplist:user:default:cheap")
        assert (await heard(client, "toplist_update"))["data"]["toplist_id"] == "cheap"
        await made.http.delete(f"{path}/cheap")
        assert (await heard(client, "toplist_gone"))["data"] == {"toplist_id": "cheap"}
        await rank(made, "cheap", 2, "toplist:user:default:cheap")  # the functions' last word
        await rank(made, "gainers_5m", 1, "")
        while "gainers_5m" not in made.gateway.hub.toplists:
            await asyncio.sleep(0.01)
        assert set(made.gateway.hub.toplists) == {"gainers_5m"}
        assert made.gateway.hub.topics == {}


async def rank(made: Running, name: str, number: int, key: str, symbol: str = "A") -> None:
    columns = {
        "list": texts([name]),
        "key": texts([key]),
        "ts_ns": np.array([number * 10**9]),
        "number": np.array([number]),
        "value": np.array([1.0]),
        "price": np.array([5.0]),
        "volume": np.array([100.0]),
        "rank": np.array([1]),
    }
    record = made.subjects.record_of("toplists.updated")
    frame = Frame(columns, [symbol], np.zeros(1, dtype=int), "toplists")
    await made.bus.publish("toplists.updated", encode(frame, record))


# -- what the guide says

GUIDE = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")


async def test_the_guide_has_every_message_and_what_it_says_is_taken(tmp_path: Path) -> None:
    section = GUIDE.split("## What a client says", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, re.MULTILINE)
    actions = {kind: action.strip("`") for kind, action in rows}
    said = [json.loads(text) for text in re.findall(r"```json says\n(.*?)```", GUIDE, re.DOTALL)]
    async with running(tmp_path) as made, connected(made) as client:
        (one,) = made.gateway.hub.clients
        assert set(Conversation(made.gateway.following, one)._verbs) == set(actions)
        for message in said:
            if message["type"] != "auth":
                assert (await asked(client, **message))["action"] == actions[message["type"]]
    assert len(said) > 4
