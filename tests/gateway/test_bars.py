"""Bars over REST: stored minutes folded, the newest ones from the stream, the running one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from runtime.frames import Frame, encode
from runtime.shapes import rfc3339
from runtime.subjects import partition_of
from tests.conftest import database_in
from tests.gateway.deployment import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = datetime(2026, 1, 5, 9, tzinfo=UTC)  # 04:00 in New York
DAY_MINUTES = 960
MINUTE_NS = 60 * 10**9


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    tmp_path_factory: pytest.TempPathFactory, postgres: str, template: str
) -> AsyncIterator[Running]:
    """A gateway whose database has two days of A's minutes and an official day of B."""
    url = await database_in(postgres, template)
    async with running(tmp_path_factory.mktemp("bars"), url) as made:
        await keep(made, "A", [*minutes_of(0), *minutes_of(1)])
        official = {"symbol": ["A"], "day": [datetime(2026, 1, 2).date()], "volume": [9.0]}
        official |= {name: [5.0] for name in ("open", "high", "low", "close")}
        await made.store.upsert("daily_bars", official, ("symbol", "day"))
        yield made


def minutes_of(day: int) -> list[datetime]:
    return [FIRST + timedelta(days=day, minutes=k) for k in range(DAY_MINUTES)]


def columns_of(times: list[datetime], revision: int = 0) -> dict[str, list[Any]]:
    """Bars that differ in every minute; every seventh has no VWAP."""
    numbers = [int((one - FIRST).total_seconds()) // 60 for one in times]
    close = [100 + 10 * math.sin(k / 50) for k in numbers]
    return {
        "open": [one - 0.25 for one in close],
        "high": [one + 1 + k % 3 for one, k in zip(close, numbers, strict=True)],
        "low": [one - 1 - k % 5 for one, k in zip(close, numbers, strict=True)],
        "close": close,
        "volume": [100.0 + k % 11 for k in numbers],
        "vwap": [None if k % 7 == 0 else one + 0.1 for one, k in zip(close, numbers, strict=True)],
        "count": [1 + k % 4 for k in numbers],
        "revision": [revision] * len(times),
    }


async def keep(made: Running, symbol: str, times: list[datetime]) -> None:
    days = sorted({one.replace(hour=0, minute=0) for one in times})
    await made.store.fetch("SELECT make_room('bars_1m', $1)", days)
    columns = {"symbol": [symbol] * len(times), "timestamp": times, **columns_of(times)}
    await made.store.upsert("bars_1m", columns, ("symbol", "timestamp"), "revision")


async def say(
    made: Running, symbol: str, times: list[datetime], base: str = "bars.final", **other: Any
) -> None:
    """Bars as the stream, or what is running, tells them."""
    columns = {**columns_of(times), **other}
    ts_ns = np.array([int(one.timestamp()) for one in times]) * 10**9
    told = {
        name: np.array([math.nan if v is None else v for v in several])
        for name, several in columns.items()
    }
    told |= {
        "ts_ns": ts_ns,
        "count": told["count"].astype("i8"),
        "revision": told["revision"].astype("i4"),
    }
    frame = Frame(told, [symbol], np.zeros(len(times), dtype=int), "bars")
    wire = made.subjects.wire(base, partition_of(symbol, made.subjects.partitions))
    send = made.bus.put if base == "bars.final" else made.bus.publish
    await send(wire, encode(frame, made.subjects.record_of(base)))


def slow_fold(times: list[datetime], minutes: int, midnight: datetime) -> dict[str, dict[str, Any]]:
    """The obvious twin: minutes put into candles one by one."""
    found: dict[str, dict[str, Any]] = {}
    columns = columns_of(times)
    for place, one in enumerate(times):
        bar = {name: values[place] for name, values in columns.items()}
        start = one - (one - midnight) % timedelta(minutes=minutes)
        candle = found.setdefault(
            rfc3339(int(start.timestamp()) * 10**9),
            {**bar, "volume": 0.0, "count": 0, "known": 0.0, "weighted": 0.0},
        )
        candle["high"], candle["low"] = (
            max(candle["high"], bar["high"]),
            min(candle["low"], bar["low"]),
        )
        candle["close"] = bar["close"]
        candle["volume"] += bar["volume"]
        candle["count"] += bar["count"]
        if bar["vwap"] is not None:
            candle["known"] += bar["volume"]
            candle["weighted"] += bar["vwap"] * bar["volume"]
    return found


def same(bar: dict[str, Any], candle: dict[str, Any]) -> None:
    for name in ("open", "high", "low", "close", "volume"):
        assert bar[name] == pytest.approx(candle[name], rel=1e-12)
    assert bar["vwap"] == pytest.approx(candle["weighted"] / candle["known"], rel=1e-12)
    assert bar["trades"] == candle["count"]


async def test_a_day_of_minutes_comes_whole_and_in_order(made: Running) -> None:
    told = await made.get(
        "bars/A", **{"from": "2026-01-05T09:00:00Z", "to": "2026-01-06T01:00:00Z"}
    )
    assert (told["symbol"], told["timeframe"], told["count"], told["next"]) == (
        "A",
        "1m",
        960,
        None,
    )
    expected = columns_of(minutes_of(0))
    for name in ("open", "high", "low", "close", "volume", "vwap"):
        assert [bar[name] for bar in told["bars"]] == expected[name]
    assert [bar["trades"] for bar in told["bars"]] == expected["count"]
    assert told["bars"][0]["timestamp"] == "2026-01-05T09:00:00.000000000Z"


@pytest.mark.parametrize("timeframe", ["2m", "5m", "10m", "15m", "30m", "1h", "4h"])
async def test_candles_begin_at_multiples_after_midnight_in_new_york(
    made: Running, timeframe: str
) -> None:
    minutes = int(timeframe[:-1]) * (60 if timeframe[-1] == "h" else 1)
    query = {"from": "2026-01-05T05:00:00Z", "to": "2026-01-07T05:00:00Z", "limit": 5000}
    told = await made.get("bars/A", timeframe=timeframe, **query)
    midnight = datetime(2026, 1, 5, 5, tzinfo=UTC)
    expected = slow_fold([*minutes_of(0), *minutes_of(1)], minutes, midnight)
    assert [bar["timestamp"] for bar in told["bars"]] == list(expected)
    for bar in told["bars"]:
        same(bar, expected[bar["timestamp"]])


async def test_a_day_is_the_official_bar_or_what_was_traded_while_the_market_was_open(
    made: Running,
) -> None:
    query = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-07T00:00:00Z"}
    told = await made.get("bars/A", timeframe="1d", **query)
    assert [bar["day"] for bar in told["bars"]] == ["2026-01-02", "2026-01-05", "2026-01-06"]
    assert (told["bars"][0]["open"], told["bars"][0]["vwap"]) == (5.0, None)
    inside = minutes_of(0)[330:720]  # 09:30 to 16:00 in New York
    (expected,) = slow_fold(inside, 1440, datetime(2026, 1, 5, tzinfo=UTC)).values()
    same(told["bars"][1], expected)
    assert told["bars"][1]["timestamp"] == "2026-01-05T14:30:00.000000000Z"


async def test_a_range_is_read_page_by_page(made: Running) -> None:
    query = {"from": "2026-01-05T09:00:00Z", "to": "2026-01-06T01:00:00Z", "limit": 400}
    seen: list[str] = []
    sizes = []
    while query["from"]:
        told = await made.get("bars/A", **query)
        seen += [bar["timestamp"] for bar in told["bars"]]
        sizes.append(told["count"])
        query["from"] = told["next"]
    assert sizes == [400, 400, 160]
    assert seen == [rfc3339(int(one.timestamp()) * 10**9) for one in minutes_of(0)]


async def test_without_a_beginning_the_newest_bars_come(made: Running) -> None:
    told = await made.get("bars/A", limit=3, to="2026-01-05T20:00:00Z")
    times = [bar["timestamp"][11:16] for bar in told["bars"]]
    assert times == ["19:57", "19:58", "19:59"]
    told = await made.get("bars/A", limit=2, timeframe="4h", to="2026-01-05T20:00:00Z")
    assert [bar["timestamp"][11:16] for bar in told["bars"]] == ["13:00", "17:00"]


async def test_minutes_that_are_not_stored_yet_come_from_the_stream(made: Running) -> None:
    times = [FIRST + timedelta(days=2, minutes=k) for k in range(12)]
    await keep(made, "B", times[:6])
    await say(made, "B", times[4:11])
    changed = {name: [one] for name, one in (("close", 77.0), ("revision", 1), ("high", 120.0))}
    await say(made, "B", [times[5]], **changed)  # a revision the database does not have
    await say(made, "B", [times[11]], "bars.live")
    async with asyncio.timeout(5):
        while (
            made.gateway.hub.bar("B") is None
            or len(made.gateway.recent.of("B")) < 7
            or made.gateway.recent.of("B")[1].revision == 0
        ):
            await asyncio.sleep(0.01)
    query = {"from": rfc3339(int(times[0].timestamp()) * 10**9), "to": "2026-01-07T10:00:00Z"}
    told = await made.get("bars/B", **query)
    expected = columns_of(times)["close"]
    assert [bar["close"] for bar in told["bars"]] == [*expected[:5], 77.0, *expected[6:]]
    assert [bar.get("is_running", False) for bar in told["bars"]] == [False] * 11 + [True]
    folded = await made.get("bars/B", timeframe="5m", **query)
    assert [bar["close"] for bar in folded["bars"]] == [expected[4], expected[9], expected[11]]
    assert folded["bars"][1]["high"] == 120.0
    assert folded["bars"][2]["is_running"] is True
    (hours,) = (await made.get("bars/B", timeframe="4h", **query))["bars"]
    assert (hours["timestamp"], hours["close"]) == ("2026-01-07T09:00:00.000000000Z", expected[11])
    newest = await made.get("bars/B", limit=2)  # up to the newest time that was heard
    assert [bar["close"] for bar in newest["bars"]] == expected[10:]


async def test_the_running_day_is_folded_with_the_newest_minutes(made: Running) -> None:
    times = [datetime(2026, 1, 8, 14, 28, tzinfo=UTC) + timedelta(minutes=k) for k in range(6)]
    await keep(made, "D", times[:4])
    await say(made, "D", times[3:])
    async with asyncio.timeout(5):
        while len(made.gateway.recent.of("D")) < 3:
            await asyncio.sleep(0.01)
    query = {"from": "2026-01-07T00:00:00Z", "to": "2026-01-09T00:00:00Z"}
    told = await made.get("bars/D", timeframe="1d", **query)
    (expected,) = slow_fold(times[2:], 1440, datetime(2026, 1, 8, tzinfo=UTC)).values()
    (bar,) = told["bars"]
    same(bar, expected)


async def test_a_symbol_without_bars_has_none(made: Running) -> None:
    assert (await made.get("bars/BTC%2FUSD"))["bars"] == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("timeframe=3m", "timeframe"),
        ("limit=0", "limit"),
        ("limit=100000", "limit"),
        ("from=yesterday", "expected an RFC 3339 time"),
        ("to=0001-01-01T00:00:00Z", "expected a year from 1679 to 2261"),
        ("from=2026-01-05T09:00:00Z&to=2026-01-05T08:00:00Z", "from: expected a time before"),
    ],
)
async def test_a_query_out_of_bounds_is_a_problem_that_names_it(
    made: Running, query: str, says: str
) -> None:
    assert says in await made.refused("GET", f"bars/A?{query}", 400)


async def test_the_ends_of_time_are_answered(made: Running) -> None:
    for end in ("1679-01-01T00:00:00Z", "2261-01-01T00:00:00Z"):
        for timeframe in ("1m", "4h", "1d"):
            assert (await made.get("bars/A", timeframe=timeframe, to=end, limit=5000))["count"] >= 0


async def test_without_a_database_bars_are_a_503(tmp_path: Path) -> None:
    async with running(tmp_path) as alone:
        assert "the database cannot be reached" in await alone.refused("GET", "bars/A", 503)
