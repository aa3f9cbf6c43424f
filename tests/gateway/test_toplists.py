"""Toplists of users over a real server: kept, owned, ranked, followed whole and by what changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import numpy as np
import pytest
import websockets

from functions.market.listings import check_toplists
from functions.scanner import scanner
from runtime.bus import Bus
from runtime.config import Settings
from runtime.frames import Frame, decode, encode, texts
from runtime.gateway.app import create_app
from runtime.gateway.book import LIST_BYTES_MAX, LISTS_OF_USER_MAX
from runtime.gateway.gateway import Gateway
from runtime.gateway.rankings import follow
from runtime.gateway.server import bound_socket, run_server, say_goodbye
from runtime.shapes import Listed
from runtime.subjects import Subjects
from tests.conftest import Nats

SECRET = "s" * 32
CHEAP = {
    "id": "cheap",
    "name": "Cheap",
    "metric": "change_pct",
    "time_window": "5m",
    "sort_order": "desc",
    "columns": ["relative_volume_5m"],
}
PATH = "/api/v1/toplists"
SECOND_NS = 10**9


def token(user: str) -> dict[str, str]:
    return {
        "Authorization": "Bearer "
        + jwt.encode({"sub": user, "exp": 9_999_999_999}, SECRET, "HS256")
    }


class Served:
    """A running gateway that knows the functions' lists."""

    def __init__(self, nats: Nats, subjects: Subjects, gateway: Gateway, address: str) -> None:
        self.nats, self.subjects, self.gateway, self.address = nats, subjects, gateway, address
        self.ann = httpx.AsyncClient(base_url=f"http://{address}", headers=token("ann"))
        self.bob = httpx.AsyncClient(base_url=f"http://{address}", headers=token("bob"))

    @contextlib.asynccontextmanager
    async def socket(self, user: str) -> AsyncIterator[Any]:
        headers = token(user)
        async with websockets.connect(
            f"ws://{self.address}/ws", additional_headers=headers
        ) as client:
            yield client

    async def rank(
        self, number: int, shown: dict[str, float], gone: tuple[str, ...] = (), user: str = "ann"
    ) -> None:
        """An update of the list `cheap`, as the functions write it."""
        names = [*shown, *gone]
        size, count = len(names), len(shown)
        ranks = np.concatenate([np.arange(1, count + 1), np.zeros(size - count, dtype=int)])
        columns = {
            "list": texts(["cheap"] * size),
            "key": texts([f"toplist:user:{user}:cheap"] * size),
            "ts_ns": np.full(size, number * SECOND_NS),
            "number": np.full(size, number),
            "value": np.array([*shown.values(), *[np.nan] * len(gone)]),
            "price": np.full(size, 5.0),
            "volume": np.full(size, 100.0),
            "rank": ranks,
            "previous": ranks,
            "since_ns": np.where(ranks > 0, SECOND_NS, 0),
            "c0": np.array([2.5, *[np.nan] * (size - 1)]),
        }
        record = self.subjects.record_of("toplists.updated")
        frame = Frame(columns, names, np.arange(size), "toplists")
        await self.nats.bus.publish("toplists.updated", encode(frame, record))

    async def body(self) -> dict[str, Any]:
        """The newest control body of a partition."""
        (message,) = await self.nats.bus.history("MARKET", "control.0", 1)
        frame = decode(message.data, self.subjects.record_of("control"))
        return json.loads(frame["body"][0])


@pytest.fixture
async def served(nats: Nats, subjects: Subjects) -> AsyncIterator[Served]:
    bus = await Bus.connect(nats.url, "gateway")
    settings = Settings(mode="production", jwt_secret=SECRET)
    gateway = Gateway(settings, subjects, bus, scanner.accepts)
    following = asyncio.create_task(gateway.run(None))
    listening = bound_socket("127.0.0.1", 0)
    stopping = asyncio.Event()
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    serving = asyncio.create_task(run_server(create_app(gateway), listening, stopping.wait))
    served = Served(nats, subjects, gateway, address)
    async with served.ann, served.bob:
        while (await served.ann.get("/ready")).status_code != 200:
            await asyncio.sleep(0.02)
        yield served
    await say_goodbye(gateway)
    stopping.set()
    await serving
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await bus.close()


async def update(client: Any) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            message = json.loads(await client.recv())
            if message["type"] in ("toplist_update", "error"):
                return message


async def test_a_list_of_a_user_is_kept_and_sent_to_the_scanner_beside_the_rules(
    served: Served,
) -> None:
    made = await served.ann.post(f"{PATH}/user", json={**CHEAP, "user_id": "bob"})
    assert (made.status_code, made.json()["user_id"]) == (201, "ann")
    rule = {"id": "r", "name": "R", "when": "enters cheap and price > 1"}
    assert (await served.ann.post("/api/v1/rules", json=rule)).status_code == 201
    body = await served.body()
    assert [one["id"] for one in body["rules"]] == ["r"]
    assert [one["id"] for one in body["toplists"]] == ["cheap"]
    assert (await served.ann.get(PATH)).json()["count"] == 21
    assert (await served.bob.get(PATH)).json()["user_toplists"] == []
    changed = await served.ann.put(f"{PATH}/user/cheap", json={**CHEAP, "name": "Cheaper"})
    assert changed.json()["created_at"] == made.json()["created_at"]
    assert (await served.ann.delete(f"{PATH}/user/cheap")).json() == {"message": "Toplist deleted"}
    assert await served.body() == {"rules": []}
    verdict = (await served.ann.post("/api/v1/rules/r/validate")).json()
    assert not verdict["valid"]
    assert "expected a toplist, found 'cheap'" in verdict["error"]


async def test_control_versions_rise_over_rules_and_lists_alike(served: Served) -> None:
    for k in range(2):
        await served.ann.post(f"{PATH}/user", json={**CHEAP, "id": f"l{k}"})
        await served.ann.post(
            "/api/v1/rules", json={"id": f"r{k}", "name": "R", "when": "price > 1"}
        )
    frames = [
        decode(message.data, served.subjects.record_of("control"))
        for message in await served.nats.bus.history("MARKET", "control.3", 100)
    ]
    versions = [int(frame["version"][0]) for frame in frames]
    assert versions == sorted(set(versions))
    held = [json.loads(frame["body"][0]) for frame in frames]
    assert [(len(b["rules"]), len(b.get("toplists", []))) for b in held][-4:] == [
        (0, 1),
        (1, 1),
        (1, 2),
        (2, 2),
    ]


async def test_the_lists_of_others_are_refused(served: Served) -> None:
    await served.ann.post(f"{PATH}/user", json=CHEAP)
    for method, path in [
        ("GET", f"{PATH}/user/cheap"),
        ("PUT", f"{PATH}/user/cheap"),
        ("DELETE", f"{PATH}/user/cheap"),
        ("GET", f"{PATH}/user/cheap/rankings"),
    ]:
        answer = await served.bob.request(method, path, json=CHEAP)
        assert (answer.status_code, answer.json()["detail"]) == (403, "Access denied"), path
        missing = await served.bob.request(method, path.replace("cheap", "none"), json=CHEAP)
        assert (missing.status_code, missing.json()["detail"]) == (404, "Toplist not found"), path
    assert (await served.bob.post(f"{PATH}/user", json=CHEAP)).status_code == 409
    async with served.socket("bob") as client:
        await client.send('{"type":"subscribe_toplist","toplist_id":"cheap"}')
        assert (await update(client))["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"metric": "chnge_pct"}, 400, "Invalid toplist configuration: "),
        ({"metric": "price", "time_window": "", "columns": ["prise"]}, 400, "did you mean price?"),
        ({"id": "gainers_5m"}, 400, "id of a system list"),
        ({"id": "a.b"}, 400, "id: expected"),
        ({"description": "x" * LIST_BYTES_MAX}, 413, "bytes of JSON"),
    ],
)
async def test_a_wrong_list_is_a_problem_that_says_so(
    served: Served, change: Any, status: int, says: str
) -> None:
    answer = await served.ann.post(f"{PATH}/user", json={**CHEAP, **change})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


async def test_a_stored_list_that_is_no_good_any_more_stops_no_rule(served: Served) -> None:
    stale = json.dumps({"name": "Stale", "user_id": "bob", "metric": "gone_by_now"})
    await served.nats.bus.kv("rules").create("list.stale", stale.encode())
    while "stale" not in served.gateway.lists.things:
        await asyncio.sleep(0.01)
    rule = {"id": "r", "name": "R", "when": "price > 1"}
    made = await served.ann.post("/api/v1/rules", json=rule)
    assert made.status_code == 201, made.json()
    assert [one["id"] for one in (await served.body())["rules"]] == ["r"]


async def test_what_was_ranked_for_a_user_before_reaches_nobody_after(served: Served) -> None:
    await served.bob.post(f"{PATH}/user", json=CHEAP)
    async with served.socket("bob") as client:
        await client.send('{"type":"subscribe_toplist","toplist_id":"cheap"}')
        await served.rank(7, {"A": 3.0}, user="ann")
        await served.rank(8, {"B": 2.0}, user="bob")
        told = (await update(client))["data"]
    assert [one["symbol"] for one in told["rankings"]] == ["B"]


async def test_a_user_has_so_many_lists_and_no_more(served: Served) -> None:
    for k in range(LISTS_OF_USER_MAX):
        made = await served.ann.post(f"{PATH}/user", json={**CHEAP, "id": f"l{k}"})
        assert made.status_code == 201
    assert (await served.ann.post(f"{PATH}/user", json=CHEAP)).status_code == 413
    assert (await served.bob.post(f"{PATH}/user", json=CHEAP)).status_code == 201


async def test_system_lists_have_their_names_and_lists_of_users_are_none(served: Served) -> None:
    await served.ann.post(f"{PATH}/user", json=CHEAP)
    listed = (await served.ann.get(PATH)).json()["system_toplists"]
    found = {one["id"]: (one["name"], one["metric"], one["time_window"]) for one in listed}
    assert len(found) == 20
    assert found["gainers_5m"] == ("Top Gainers (5m)", "change_pct", "5m")
    unranked = (await served.ann.get(f"{PATH}/system/gainers_5m")).json()
    assert (unranked["toplist_name"], unranked["rankings"]) == ("Top Gainers (5m)", [])
    user = await served.ann.get(f"{PATH}/system/cheap")
    assert (user.status_code, user.json()["detail"]) == (400, "Not a system toplist")


async def test_rankings_are_paged_filtered_and_have_the_columns_of_the_list(served: Served) -> None:
    await served.ann.post(f"{PATH}/user", json=CHEAP)
    await served.rank(1, {"A": 3.0, "B": 2.0, "C": 1.0})
    while "cheap" not in served.gateway.hub.toplists:
        await asyncio.sleep(0.01)
    found = (await served.ann.get(f"{PATH}/user/cheap/rankings?limit=2&offset=1")).json()
    assert [(one["symbol"], one["rank"]) for one in found["rankings"]] == [("B", 2), ("C", 3)]
    assert found["pagination"] == {"limit": 2, "offset": 1, "total": 3}
    first = (await served.ann.get(f"{PATH}/user/cheap/rankings?limit=1")).json()["rankings"][0]
    assert first["metadata"] == {"price": 5.0, "volume": 100.0, "relative_volume_5m": 2.5}
    assert (first["previous"], first["since"]) == (1, "1970-01-01T00:00:01.000000000Z")
    for limits, total in [("min_volume=101", 0), ("price_min=5", 3), ("price_max=4.9", 0)]:
        page = (await served.ann.get(f"{PATH}/user/cheap/rankings?{limits}")).json()
        assert page["pagination"]["total"] == total, limits
    wrong = await served.ann.get(f"{PATH}/user/cheap/rankings?price_min=x")
    assert (wrong.status_code, "price_min" in wrong.json()["detail"]) == (400, True)


async def test_a_client_of_deltas_has_what_a_client_of_whole_updates_has(served: Served) -> None:
    await served.ann.post(f"{PATH}/user", json=CHEAP)
    async with served.socket("ann") as whole, served.socket("ann") as deltas:
        await whole.send('{"type":"subscribe_toplist","toplist_id":"cheap"}')
        await deltas.send('{"type":"subscribe_toplist","toplist_id":"cheap","deltas":true}')
        while sum("list:cheap" in one.topics for one in served.gateway.hub.clients) < 2:
            await asyncio.sleep(0.01)
        held: dict[str, Any] = {}
        told = []
        updates = [(1, {"A": 3.0, "B": 2.0}, ()), (2, {"A": 3.0, "C": 2.5, "B": 2.0}, ()),
                   (3, {"C": 4.0}, ("A", "B")), (5, {"C": 4.0, "D": 1.0}, ()), (6, {}, ("C", "D"))]  # fmt: skip
        for number, shown, gone in updates:
            await served.rank(number, shown, gone)
            full = (await update(whole))["data"]
            data = (await update(deltas))["data"]
            assert (full["toplist_type"], full["seq"], data["seq"]) == ("user", number, number)
            if data["snapshot"]:
                held = {}
            held |= {row["symbol"]: row for row in data["rankings"]}
            held = {k: v for k, v in held.items() if k not in data["gone"]}
            assert sorted(held.values(), key=lambda row: row["rank"]) == full["rankings"]
            told.append((data["snapshot"], sorted(row["symbol"] for row in data["rankings"])))
        assert told == [
            (True, ["A", "B"]),
            (False, ["B", "C"]),
            (False, ["C"]),
            (True, ["C", "D"]),  # number 4 was not heard
            (False, []),
        ]
        assert full["rankings"] == []


def test_every_client_is_written_the_same_bytes_and_a_repeated_update_is_none() -> None:
    row = {"symbol": "A", "rank": 1}
    first = follow("x", None, Listed("", 1, 7, [row]))
    second = follow("x", first, Listed("", 2, 8, [row]))
    assert first is not None
    assert second is not None
    assert second.for_client(1, True) is second.for_client(1, True)
    assert second.for_client(0, False) is second.for_client(1, False)
    assert follow("x", second, Listed("", 2, 8, [])) is None
    assert follow("x", second, Listed("", 3, 1, [row])) is not None  # the function began anew


@pytest.mark.parametrize("name", ["name", "user_id", "created_at", "metric", "a\ud800"])
async def test_half_a_letter_anywhere_in_a_toplist_is_refused(served: Served, name: str) -> None:
    content = json.dumps({**CHEAP, name: "a\ud800"})
    headers = {"Content-Type": "application/json"}
    made = await served.ann.post(f"{PATH}/user", content=content, headers=headers)
    if name == "user_id":  # it is who asks
        assert made.json()["user_id"] == "ann"
    else:
        assert made.status_code == 400, made.text
    with pytest.raises(ValueError, match="expected"):
        check_toplists(json.dumps({"toplists": [json.loads(content)]}))
    with pytest.raises(ValueError, match="user_id"):
        check_toplists(json.dumps({"toplists": [{**CHEAP, "user_id": "a\0"}]}))
