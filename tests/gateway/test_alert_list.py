"""Alerts over REST: from the database, from the ring what is newer, in any order, page by page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from runtime.frames import Frame, encode, texts
from tests.conftest import database_in
from tests.gateway.deployment import SECRET, Running, as_trader, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

T0 = 1_767_623_400_000_000_123  # 2026-01-05T14:30:00Z
STORED, ALL = 40, 60
SYMBOLS = ("A", "B", "C")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[Running]:
    """Alerts 1 to 40 are stored, 31 to 60 are in the ring; 5 was withdrawn; r9 is a rule in the bucket."""
    url = await database_in(postgres, template)
    async with running(tmp_path_factory.mktemp("alerts"), url, jwt_secret=SECRET) as made:
        rule = {"id": "r9", "name": "Theirs", "when": "price > 5"}
        answer = await made.http.post("/api/v1/rules", json=rule)
        assert answer.status_code == 201, answer.text
        await keep(made, range(1, STORED + 1))
        for number in range(31, ALL + 1):
            await say(made, number)
        async with asyncio.timeout(5):
            while made.gateway.hub.newest < ALL:
                await asyncio.sleep(0.01)
        yield made


def told(number: int) -> dict[str, Any]:
    """What is known of an alert."""
    return {
        "id": f"id-{number}",
        "rule_id": "r9" if number % 20 == 0 else f"r{number % 2}",
        "rule_name": "Up",
        "ts_ns": T0 + number * 10**9,
        "price": 100.5 - number % 7,
        "kind": "fired",
        "strength": number / 100,
        "number": number,
    }


async def keep(made: Running, numbers: Any) -> None:
    """Rows as `keeps_alerts` writes them."""
    rows = [told(number) for number in numbers]
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    moments = [datetime.fromtimestamp(row["ts_ns"] // 10**9, UTC) for row in rows]
    columns |= {"symbol": [SYMBOLS[n % 3] for n in numbers], "timestamp": moments}
    columns["message"] = [f"Rule 'Up' matched for {symbol}" for symbol in columns["symbol"]]
    columns["metadata"] = [json.dumps({"metrics": {"price": row["price"]}}) for row in rows]
    columns["explain"] = ['{"leaves":[]}'] * len(rows)
    await made.store.fetch("SELECT make_room('alert_history', $1)", moments)
    bad = await made.store.upsert("alert_history", columns, ("id", "timestamp"))
    assert not bad
    await made.store.execute(
        "UPDATE alert_history SET withdrawn_at = timestamp, withdrawn_reason = 'cancelled' WHERE id = 'id-5'"
    )


async def say(made: Running, number: int) -> None:
    """An alert as the function `alerts` says it."""
    row = told(number)
    columns = {name: texts([row[name]]) for name in ("id", "rule_id", "rule_name", "kind")}
    columns |= {name: np.array([row[name]]) for name in ("ts_ns", "price", "strength", "number")}
    columns |= {"values": texts([json.dumps({"metrics": {"price": row["price"]}})])}
    columns |= {"explain": texts(['{"leaves":[]}']), "causes": texts(['{"stream":"MARKET"}'])}
    frame = Frame(columns, [SYMBOLS[number % 3]], np.zeros(1, dtype=int), "alerts")
    record = made.subjects.record_of("alerts.filtered")
    await made.bus.put("alerts.filtered", encode(frame, record))


async def pages(made: Running, limit: int, **query: Any) -> list[dict[str, Any]]:
    """Every page of a list, one after the other."""
    found: list[dict[str, Any]] = []
    while True:
        page = await made.get("alerts", limit=limit, offset=len(found), **query)
        assert page["count"] == len(page["alerts"])
        assert page["source"] == "database"
        found += page["alerts"]
        if not page["more"]:
            return found


async def test_stored_and_newer_alerts_are_one_list_however_it_is_cut(made: Running) -> None:
    for limit in (1000, 17, 7):
        assert [one["seq"] for one in await pages(made, limit)] == list(range(ALL, 0, -1))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["timestamp", "price", "symbol", "rule_id", "strength", "seq"])
async def test_a_list_is_sorted_as_asked(made: Running, sort: str, order: str) -> None:
    found = await pages(made, 13, sort=sort, order=order)
    name = "ts_ns" if sort == "timestamp" else sort
    keys = [(one[name], one["seq"]) for one in found]
    assert keys == sorted(keys, reverse=order == "desc")
    assert len(keys) == ALL


async def test_filters_hold_for_both(made: Running) -> None:
    found = await pages(made, 5, symbol="B", rule_id="r1")
    assert [one["seq"] for one in found] == [n for n in range(ALL, 0, -1) if n % 3 == 1 and n % 2]
    assert await pages(made, 5, kind="withdrawn") == []


@pytest.mark.parametrize("names", [("start_time", "end_time"), ("from", "to")])
async def test_a_range_is_exact_to_the_nanosecond(made: Running, names: tuple[str, str]) -> None:
    first, last = "2026-01-05T14:30:38.000000123Z", "2026-01-05T14:30:42.000000122Z"
    found = await pages(made, 100, **dict(zip(names, (first, last), strict=True)))
    assert [one["seq"] for one in found] == [41, 40, 39, 38]
    first, last = "2026-01-05T14:30:38.000000124Z", "2026-01-05T14:30:42.000000123Z"
    found = await pages(made, 100, **dict(zip(names, (first, last), strict=True)))
    assert [one["seq"] for one in found] == [42, 41, 40, 39]


async def test_a_stored_alert_has_the_shape_of_a_live_one(made: Running) -> None:
    stored, live = await made.get("alerts/id-29"), await made.get("alerts/id-59")
    names = set(live) - {"latency_ms", "causes"}
    assert names <= set(stored) | {"latency_ms"}
    assert stored["timestamp"] == "2026-01-05T14:30:29.000000123Z"
    assert stored["metadata"] == {"metrics": {"price": 99.5}}
    assert stored["message"] == live["message"].replace(live["symbol"], stored["symbol"])


async def test_a_withdrawn_alert_says_so(made: Running) -> None:
    assert (await made.get("alerts/id-5"))["withdrawn"]["reason"] == "cancelled"


async def test_alerts_of_a_rule_that_is_anothers_alone_are_not_shown(made: Running) -> None:
    rule = made.gateway.rules.things["r9"]
    made.gateway.rules.things["r9"] = {**rule, "user_id": "u2"}
    try:
        with as_trader(made):
            assert len(await pages(made, 100)) == ALL - 3
            for number in (20, 60):  # stored, live
                assert await made.refused("GET", f"alerts/id-{number}", 404) == "Alert not found"
        assert len(await pages(made, 100)) == ALL  # of an admin
        made.gateway.rules.things["r9"] = {**rule, "user_id": "u2", "shared": True}
        with as_trader(made):
            assert len(await pages(made, 100)) == ALL
    finally:
        made.gateway.rules.things["r9"] = rule


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
        ("sort=random", "sort"),
        ("order=up", "order"),
        ("start_time=now", "start_time: Value error, expected an RFC 3339 time"),
        ("symbol=A%00", "symbol: String should match pattern"),
    ],
)
async def test_what_is_out_of_bounds_is_named(made: Running, query: str, says: str) -> None:
    assert says in await made.refused("GET", f"alerts?{query}", 400)


async def test_while_the_database_is_away_the_ring_answers(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made.gateway, "store", None)
    found = await made.get("alerts", limit=10, offset=25)
    assert ([one["seq"] for one in found["alerts"]], found["source"]) == (
        [35, 34, 33, 32, 31],
        "memory",
    )
    found = await made.get("alerts", sort="strength", order="asc", limit=1)
    assert (found["alerts"][0]["seq"], found["more"]) == (31, True)
