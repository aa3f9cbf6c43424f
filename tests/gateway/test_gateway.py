"""The gateway over a real server: rules, alerts, toplists, by REST and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
import websockets

from functions.rules import check_rules
from runtime.bus import Bus
from runtime.config import Settings
from runtime.frames import Frame, decode, encode, texts
from runtime.gateway import fanout, ring
from runtime.gateway.app import create_app
from runtime.gateway.gateway import Gateway
from runtime.gateway.server import bound_socket, run_server, say_goodbye
from runtime.subjects import Subjects
from tests.conftest import ROOT, Nats

RULE = {"id": "r1", "name": "Up", "conditions": [{"metric": "price", "operator": ">", "value": 5}]}


@dataclass
class Served:
    """A running gateway."""

    nats: Nats
    subjects: Subjects
    gateway: Gateway
    address: str
    http: httpx.AsyncClient

    @contextlib.asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Any]:
        async with websockets.connect(f"ws://{self.address}/ws", **options) as client:
            yield client

    async def alert(
        self, number: int, symbol: str = "A", headers: dict[str, str] | None = None
    ) -> None:
        """An alert as the alerts function writes it."""
        columns = {
            "ts_ns": np.array([number * 10**9]),
            "price": np.array([1.5]),
            "id": texts([f"id-{number}"]),
            "rule_id": texts(["r1"]),
            "rule_name": texts(["Up"]),
            "values": texts(['{"metrics":{"price":1.5}}']),
            "number": np.array([number]),
        }
        frame = Frame(columns, [symbol], np.zeros(1, dtype=int), "alerts")
        await self.nats.bus.put(
            "alerts.filtered", encode(frame, self.subjects.record_of("alerts.filtered")), headers
        )

    async def toplist(self, symbols: list[str]) -> None:
        count = len(symbols)
        columns = {
            "list": texts(["gainers_1m"] * count),
            "ts_ns": np.full(count, 10**9),
            "value": np.arange(count, 0, -1.0),
            "price": np.arange(1.0, count + 1),
            "volume": np.full(count, 100.0),
            "rank": np.arange(1, count + 1),
        }
        frame = Frame(columns, symbols, np.arange(count), "toplists")
        record = self.subjects.record_of("toplists.updated")
        await self.nats.bus.publish("toplists.updated", encode(frame, record))


@pytest.fixture
async def served(nats: Nats, subjects: Subjects) -> AsyncIterator[Served]:
    bus = await Bus.connect(nats.url, "gateway")
    gateway = Gateway(Settings(), subjects, bus, {"control": check_rules})
    following = asyncio.create_task(gateway.run(None))
    listening = bound_socket("127.0.0.1", 0)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    stopping = asyncio.Event()
    serving = asyncio.create_task(run_server(create_app(gateway), listening, stopping.wait))
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        while (await http.get("/ready")).status_code != 200:
            await asyncio.sleep(0.02)
        yield Served(nats, subjects, gateway, address, http)
    await say_goodbye(gateway)
    stopping.set()
    await serving
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await bus.close()


async def heard(client: Any, kind: str, count: int = 1) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            message = json.loads(await client.recv())
            if message["type"] == kind:
                found.append(message)
    return found


async def test_rules_are_kept_and_sent_to_every_partition_in_order(served: Served) -> None:
    made = await served.http.post("/api/v1/rules", json=RULE)
    assert made.status_code == 201
    assert (await served.http.get("/api/v1/rules/r1")).json()["name"] == "Up"
    assert (await served.http.post("/api/v1/rules", json=RULE)).status_code == 409
    changed = await served.http.put("/api/v1/rules/r1", json={**RULE, "enabled": False})
    assert changed.json()["created_at"] == made.json()["created_at"]
    assert (await served.http.post("/api/v1/rules/r1/validate")).json() == {"valid": True}
    assert (await served.http.delete("/api/v1/rules/r1")).json() == {"message": "Rule deleted"}
    assert (await served.http.get("/api/v1/rules")).json() == {"rules": [], "count": 0}
    record = served.subjects.record_of("control")
    for partition in range(served.subjects.partitions):
        frames = [
            decode(message.data, record)
            for message in await served.nats.bus.history("MARKET", f"control.{partition}", 100)
        ]
        versions = [int(frame["version"][0]) for frame in frames]
        assert versions == sorted(set(versions))
        sets = [[rule["id"] for rule in json.loads(frame["body"][0])["rules"]] for frame in frames]
        assert sets[-3:] == [["r1"], [], []]


async def test_a_gateway_that_starts_again_says_nothing_twice(served: Served) -> None:
    await served.http.post("/api/v1/rules", json=RULE)
    before = (await served.nats.bus.stream_state("MARKET")).messages
    again = Gateway(Settings(), served.subjects, served.nats.bus, {"control": check_rules})
    await again.book.open()
    assert (await served.nats.bus.stream_state("MARKET")).messages == before
    assert [rule["id"] for rule in again.rules.all()] == ["r1"]
    await again.book.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/api/v1/rules", {"name": "x"}, 400, "expected either conditions or when, found neither"),
        ("POST", "/api/v1/rules", {**RULE, "conditions": [{"metric": "prise", "operator": ">", "value": 1}]}, 400, "did you mean price?"),
        ("POST", "/api/v1/rules", {**RULE, "cooldown": -1}, 400, "cooldown: expected seconds"),
        ("POST", "/api/v1/rules", {**RULE, "id": "a.b"}, 400, "id: expected"),
        ("POST", "/api/v1/rules", [1], 400, "expected an object, found list"),
        ("GET", "/api/v1/rules/none", None, 404, "Rule not found"),
        ("PUT", "/api/v1/rules/none", RULE, 404, "Rule not found"),
        ("PATCH", "/api/v1/rules", None, 405, "not allowed"),
        ("GET", "/api/v1/alerts?limit=0", None, 400, "limit: Input should be greater than or equal to 1"),
        pytest.param("GET", f"/api/v1/alerts?limit={'9' * 5000}", None, 400, "limit: Unable to parse", id="digits"),
        ("GET", "/api/v1/alerts?start_time=now", None, 400, "expected an RFC 3339 time"),
        ("GET", "/api/v1/alerts/none", None, 404, "Alert not found"),
        ("GET", "/api/v1/toplists/system/none", None, 404, "Toplist not found"),
        ("GET", "/nothing", None, 404, "not found"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_a_problem_that_says_so(
    served: Served, method: str, path: str, body: Any, status: int, says: str
) -> None:
    answer = await served.http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert answer.json()["code"] == status
    if status == 405:
        assert "GET" in answer.headers["allow"]


HALF = "a\ud800"


@pytest.mark.parametrize(
    "body",
    [
        {**RULE, "name": HALF},
        {**RULE, "description": HALF},
        {**RULE, "owner": HALF},
        {**RULE, "created_at": HALF},
        {**RULE, HALF: 1},
        {**RULE, "conditions": [{"metric": HALF, "operator": ">", "value": 1}]},
        {"id": "r", "name": "R", "when": f"price > 1 # {HALF}"},
        {"id": "r", "name": "R", "when": {"any": [{HALF: HALF}]}},
        {**RULE, "symbols": [HALF]},
    ],
)
async def test_half_a_letter_anywhere_in_a_body_is_refused(
    served: Served, body: dict[str, Any]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await served.http.post("/api/v1/rules", content=json.dumps(body), headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == 400
    held = await served.nats.bus.kv("rules").all()
    assert not held


async def test_a_body_that_is_not_json_and_one_that_is_too_large(served: Served) -> None:
    assert (await served.http.post("/api/v1/rules", content=b"x")).status_code == 415
    broken = await served.http.post(
        "/api/v1/rules", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert broken.status_code == 400
    large = await served.http.post("/api/v1/rules", json={"name": "x" * 400_000})
    assert large.status_code == 413


async def test_an_alert_tells_how_long_each_stage_took(served: Served) -> None:
    async with served.socket() as client:
        await client.send('{"type":"ping"}')
        await heard(client, "pong")
        await served.alert(2, headers={"Jetscan-Input-Time": str(3 * 10**9)})
        await served.alert(3)
        told, foreign = [m["data"]["latency_ms"] for m in await heard(client, "alert", 2)]
    assert told.keys() == {"feed", "stream", "gateway"}
    assert told["feed"] == 1_000.0
    assert told["stream"] > 10**12  # since three seconds after 1970
    assert -1_000 < told["gateway"] < 10_000
    assert foreign.keys() == {"gateway"}


async def test_alerts_reach_a_client_and_are_resumed_once_in_order(served: Served) -> None:
    async with served.socket() as client:
        await client.send('{"type":"ping"}')
        await heard(client, "pong")
        for number in (1, 2, 3):
            await served.alert(number)
        assert [m["data"]["seq"] for m in await heard(client, "alert", 3)] == [1, 2, 3]
    for number in (4, 5):
        await served.alert(number)
    async with served.socket() as client:
        await client.send('{"type":"resume","after":2}')
        late = await heard(client, "alert", 3)
        assert [(m["data"]["seq"], m.get("late")) for m in late] == [
            (3, True),
            (4, True),
            (5, True),
        ]
        await served.alert(6)
        (live,) = await heard(client, "alert")
        assert (live["data"]["seq"], "late" in live) == (6, False)
    found = (await served.http.get("/api/v1/alerts?limit=2&symbol=A")).json()
    assert [alert["seq"] for alert in found["alerts"]] == [6, 5]


async def test_what_is_no_longer_held_is_told_as_a_gap(served: Served, monkeypatch: Any) -> None:
    monkeypatch.setattr(ring, "RING_MAX", 3)
    async with served.socket() as client:
        await client.send('{"type":"ping"}')
        await heard(client, "pong")
        for number in range(1, 8):
            await served.alert(number)
        await heard(client, "alert", 7)
    async with served.socket() as client:
        await client.send('{"type":"resume","after":1}')
        (gap,) = await heard(client, "gap")
        assert (gap["from"], gap["to"]) == (2, 4)
        assert [m["data"]["seq"] for m in await heard(client, "alert", 3)] == [5, 6, 7]


async def test_a_client_hears_only_the_symbols_it_subscribed(served: Served) -> None:
    async with served.socket() as client:
        await client.send('{"type":"subscribe","symbols":["B"]}')
        (answer,) = await heard(client, "success")
        assert answer["data"] == {"action": "subscribed", "data": {"symbols": ["B"]}}
        await served.alert(1, "A")
        await served.alert(2, "B")
        assert (await heard(client, "alert"))[0]["data"]["seq"] == 2


async def test_a_toplist_comes_at_once_and_with_every_update(served: Served) -> None:
    await served.toplist(["A", "B"])
    async with served.socket() as client:
        while "gainers_1m" not in served.gateway.hub.toplists:
            await asyncio.sleep(0.01)
        await client.send('{"type":"subscribe_toplist","symbol":"gainers_1m"}')
        (first,) = await heard(client, "toplist_update")
        assert [rank["symbol"] for rank in first["data"]["rankings"]] == ["A", "B"]
        await served.toplist(["B", "A", "C"])
        (second,) = await heard(client, "toplist_update")
        assert [rank["symbol"] for rank in second["data"]["rankings"]] == ["B", "A", "C"]
    page = (await served.http.get("/api/v1/toplists/system/gainers_1m?offset=1&limit=1")).json()
    assert page["pagination"] == {"limit": 1, "offset": 1, "total": 3}
    assert (page["rankings"][0]["symbol"], page["rankings"][0]["rank"]) == ("A", 2)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nope", "invalid_message"),
        ("[1]", "invalid_message"),
        ('{"type":"dance"}', "unknown_message_type"),
        ('{"type":"subscribe"}', "invalid_request"),
        ('{"type":"subscribe","symbols":[5]}', "invalid_request"),
        ('{"type":"resume","after":"x"}', "invalid_request"),
        ('{"type":"subscribe_toplist"}', "invalid_request"),
    ],
)
async def test_a_wrong_message_is_answered_and_the_connection_stays(
    served: Served, text: str, code: str
) -> None:
    async with served.socket() as client:
        await client.send(text)
        (error,) = await heard(client, "error")
        assert error["code"] == code
        await client.send('{"type":"ping"}')
        await heard(client, "pong")


async def test_a_client_that_floods_is_closed(served: Served) -> None:
    async with served.socket() as client:
        for _ in range(300):
            await client.send('{"type":"ping"}')
        with pytest.raises(websockets.ConnectionClosed) as caught:
            while True:
                await asyncio.wait_for(client.recv(), 5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008


async def test_a_foreign_origin_is_refused_and_the_page_has_a_strict_policy(served: Served) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with served.socket(origin="https://evil.example"):
            pass
    assert caught.value.response.status_code == 403
    answer = await served.http.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text)
    assert len(named) > 5
    for name in named:
        assert (await served.http.get(name)).status_code == 200, name
    assert (await served.http.get("/page/../app.py")).status_code == 404


async def test_outside_local_mode_a_token_is_required(served: Served) -> None:
    strict = Settings(mode="production", jwt_secret="s" * 32)
    app = create_app(Gateway(strict, served.subjects, served.nats.bus, {"control": check_rules}))
    answer = await app.test_client().get("/api/v1/rules")
    assert answer.status_code == 401
    wrong = await app.test_client().get("/api/v1/rules", headers={"Authorization": "Bearer x.y.z"})
    assert wrong.status_code == 401
    import jwt

    token = jwt.encode({"sub": "u", "exp": 9_999_999_999}, "s" * 32, "HS256")
    good = await app.test_client().get(
        "/api/v1/rules", headers={"Authorization": f"Bearer {token}"}
    )
    assert good.status_code == 200


async def test_without_nats_it_is_not_ready_and_comes_back(served: Served) -> None:
    assert (await served.http.get("/ready")).json() == {"status": "ready"}
    await served.nats.server.stop()
    async with asyncio.timeout(5):
        while (await served.http.get("/ready")).status_code != 503:
            await asyncio.sleep(0.05)
    assert "NATS" in (await served.http.get("/ready")).json()["reason"]


async def test_hypercorn_still_lends_its_transport(served: Served) -> None:
    async with served.socket() as client:
        await client.send('{"type":"ping"}')
        await heard(client, "pong")
        (one,) = served.gateway.hub.clients
        assert one.line is not None
        assert client.protocol.extensions == []


def test_frames_are_what_the_websocket_protocol_says() -> None:
    assert fanout.frame(fanout.TEXT, b"hi") == b"\x81\x02hi"
    assert fanout.frame(fanout.TEXT, b"x" * 200)[:4] == b"\x81\x7e\x00\xc8"
    assert fanout.frame(fanout.TEXT, b"x" * 70_000)[:10] == b"\x81\x7f" + (70_000).to_bytes(
        8, "big"
    )
    assert fanout.close_frame(1012, "bye") == b"\x88\x05\x03\xf4bye"


async def test_starter_rules_are_put_into_an_empty_bucket_only(
    nats: Nats, subjects: Subjects
) -> None:
    gateway = Gateway(Settings(), subjects, nats.bus, {"control": check_rules})
    await gateway.book.open(str(ROOT / "functions" / "rules" / "examples.json"))
    assert len(gateway.rules.all()) == 5
    for rule in gateway.rules.all():
        await gateway.rules.remove(rule["id"])
    await gateway.book.close()
    again = Gateway(Settings(), subjects, nats.bus, {"control": check_rules})
    await again.book.open(str(ROOT / "functions" / "rules" / "examples.json"))
    assert again.rules.all() == []
    await again.book.close()


async def test_what_was_changed_while_nats_was_away_is_read_after_it(served: Served) -> None:
    await served.gateway.book.close()  # no hint comes, as while the connection is cut
    other = {**RULE, "id": "r9", "name": "Of another gateway"}
    await served.nats.bus.kv("rules").put("r9", json.dumps(other).encode())
    served.gateway.bus.reconnects += 1
    async with asyncio.timeout(10):
        while "r9" not in served.gateway.rules.things:
            await asyncio.sleep(0.02)
