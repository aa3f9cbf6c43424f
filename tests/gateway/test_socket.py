"""The WebSocket: who may come in, what may be followed, what a hostile or slow client can and cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import msgpack
import numpy as np
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.frames import Frame, encode, texts
from runtime.gateway import directory, hub, keeper
from runtime.gateway.access import Caller
from runtime.gateway.client import WAITING_MAX, Client, write_waiting
from runtime.gateway.keeper import Keeper
from runtime.gateway.socket import Conversation
from runtime.gateway.updates import JSON, MSGPACK, Update
from runtime.gateway.wanted import Wanted
from tests.conftest import ROOT
from tests.gateway.running import Running, hosted, running

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


async def rank(made: Running, name: str, number: int, key: str) -> None:
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
    frame = Frame(columns, ["A"], np.zeros(1, dtype=int), "toplists")
    await made.bus.publish("toplists.updated", encode(frame, record))


# -- hostile and slow clients

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
KINDS = ["auth", "ping", "subscribe", "unsubscribe", "subscribe_toplist", "unsubscribe_toplist", "subscribe_bars",
         "unsubscribe_bars", "subscribe_metrics", "unsubscribe_metrics", "subscribe_functions", "unsubscribe_functions", "resume"]  # fmt: skip
FIELDS = ["token", "symbol", "symbols", "rules", "rule", "watchlists", "watchlist", "toplist_id", "names", "deltas", "bars", "after"]  # fmt: skip
NAMES = st.lists(st.sampled_from(["A", "gainers_5m", "price", "\ud800"]), max_size=3)
MESSAGES = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(KINDS) | VALUES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES | NAMES | st.just("A"), max_size=5),
)


class Written:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.frames.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.frames.append(b"held back")

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_no_message_ends_a_conversation_or_goes_unanswered(tmp_path: Path) -> None:
    async with running(tmp_path) as made:
        answers = asyncio.get_running_loop()

        async def hear(told: str | bytes, codec: Any, is_known: bool) -> list[bytes]:
            from runtime.gateway.fanout import Line

            written = Written()
            client = Client(Line(written), lambda _: asyncio.sleep(0), codec=codec)
            if is_known:
                made.gateway.following.let_in(client, Caller("ann", frozenset({"admin"})))
            await Conversation(made.gateway.following, client).hear(told)
            made.gateway.following.leave(client)
            return written.frames

        def heard_in_loop(*one: Any) -> list[bytes]:
            return asyncio.run_coroutine_threadsafe(hear(*one), answers).result(10)

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(MESSAGES, VALUES), st.binary(max_size=60), st.booleans(), st.booleans())
        def fuzz(message: Any, raw: bytes, is_packed: bool, is_known: bool) -> None:
            codec = MSGPACK if is_packed else JSON
            assert heard_in_loop(json.dumps(message), codec, is_known)
            assert heard_in_loop(raw, codec, is_known)
            with contextlib.suppress(ValueError, OverflowError):
                assert heard_in_loop(msgpack.packb(message), codec, is_known)

        await asyncio.to_thread(fuzz)


@pytest.mark.parametrize(
    "told",
    [
        b"\x81\x85\0\0\0\0\xff\xff\xff\xff\xff",  # no UTF-8
        b"\x83\x80\0\0\0\0",  # an opcode that is none
        b"\xf1\x80\0\0\0\0",  # reserved bits
        b"\x81\x05hello",  # without a mask
        b"\x80\x80\0\0\0\0",  # the rest of nothing
        b"\x89\xfe\x01\x00\0\0\0\0" + bytes(256),  # a ping longer than a ping may be
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + bytes(100),
        b"\x88\x81\0\0\0\0\x01",  # a close with half a code
        os.urandom(2_000),
    ],
    ids=["text", "opcode", "reserved", "mask", "rest", "ping", "length", "close", "random"],
)
async def test_frames_that_are_none_end_their_connection_only(tmp_path: Path, told: bytes) -> None:
    async with running(tmp_path) as made, connected(made) as other:
        host, port = made.http.base_url.host, made.http.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        writer.write(told)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        await asked(other, type="subscribe", symbols=["A"])
        while made.gateway.following.count > 1:
            await asyncio.sleep(0.01)


async def test_one_that_reads_nothing_slows_nobody_is_cut_off_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "STUCK_S", 0.5)
    async with running(tmp_path) as made, connected(made) as other:
        host, port = made.http.base_url.host, made.http.base_url.port
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, port))
        stuck.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        while len(made.gateway.hub.clients) < 2:
            await asyncio.sleep(0.01)
        number = 0
        async with asyncio.timeout(20):
            while len(made.gateway.hub.clients) > 1:
                number += 1
                await alert(made, number, "A" * 60, "r" * 200)
                assert (await heard(other, "alert"))["data"]["seq"] == number
        assert made.gateway.hub._behind == set()
        stuck.close()


async def test_one_that_is_not_heard_of_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as made, connected(made) as client:
        await told(client)
        looking = Keeper(made.gateway.following)
        await looking.look(time.monotonic() + keeper.PING_S + 1)  # answered by a pong
        before = time.monotonic()
        (one,) = made.gateway.hub.clients
        while one.line.heard_at < before:
            await asyncio.sleep(0.01)
        await looking.look(time.monotonic() + keeper.STALE_S + 1)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)


async def test_a_message_that_is_too_long_ends_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as made, connected(made) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.send("x" * (65 << 10))
        assert (await closed(client))[0] == 1009


async def test_a_connection_without_a_transport_is_written_by_its_own_task() -> None:
    said: list[Any] = []
    is_open = asyncio.Event()

    async def send(payload: str | bytes) -> None:
        await is_open.wait()
        said.append(payload)

    async def close(code: int, reason: str) -> None:
        said.append((code, reason))

    client = Client(None, send)
    writing = asyncio.create_task(write_waiting(client, close))
    client.tell({"type": "pong", "seq": 1})
    assert not client.is_free
    await asyncio.sleep(0)
    is_open.set()
    while client.waiting:
        await asyncio.sleep(0)
    client.close(1012, "restarting")
    await asyncio.wait_for(writing, 5)
    assert said == ['{"type":"pong","seq":1}', (1012, "restarting")]
    stalled = Client(None, send)
    for _ in range(WAITING_MAX + 1):
        stalled.tell({"type": "pong", "seq": 1})
    assert stalled.closed == (1008, "too many messages wait")


# -- the end


@pytest.mark.parametrize("is_stuck", [False, True], ids=["clients that read", "one that reads nothing"])  # fmt: skip
async def test_sigterm_tells_every_client_and_ends_the_process_in_time(
    nats: Any, is_stuck: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JETSCAN_NATS_URL": nats.url, "JETSCAN_PORT": str(port)}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runtime.cli", "gateway", cwd=ROOT, env=environment
    )
    stuck = socket.socket()
    try:
        clients = [await _patiently(f"ws://127.0.0.1:{port}/ws") for _ in range(20)]
        if is_stuck:
            await _stall(stuck, port)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*(closed(one) for one in clients))
        assert set(codes) == {(1012, "restarting")}
        assert time.monotonic() - begun < 2
        assert await asyncio.wait_for(process.wait(), 8) == 0
    finally:
        stuck.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _patiently(url: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError, websockets.InvalidStatus):
                client = await websockets.connect(url)
                await asked(client, type="subscribe", symbols=["none"])
                return client
            await asyncio.sleep(0.1)


async def _stall(stuck: socket.socket, port: int) -> None:
    """A client that asks on and on and reads no answer."""
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", port))
    stuck.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    text = json.dumps({"type": "subscribe", "symbols": [f"S{k:04}" for k in range(1_900)]}).encode()
    frame = b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text
    for _ in range(60):  # each is answered with as much: more than the buffers hold
        await asyncio.to_thread(stuck.sendall, frame)


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
