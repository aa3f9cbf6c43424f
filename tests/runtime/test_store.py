"""The store: batches that are idempotent, bad rows alone, what a failure means, partitions and what is old."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.store import Connection, Outage, Store, StoreError

KEY = ("symbol", "timestamp")
NOON = datetime(2026, 1, 5, 17, tzinfo=UTC)


def bars(symbols: list[str], **columns: Any) -> dict[str, Any]:
    size = len(symbols)
    numbers = {name: [10.0] * size for name in ("open", "high", "low", "close", "volume")}
    return {
        "symbol": symbols,
        "timestamp": [NOON] * size,
        **numbers,
        "revision": [0] * size,
        **columns,
    }


async def closes(store: Store) -> dict[str, float]:
    rows = await store.fetch("SELECT symbol, close FROM bars_1m ORDER BY symbol")
    return {row["symbol"]: row["close"] for row in rows}


async def test_the_same_rows_again_write_nothing(store: Store) -> None:
    written = []
    for _ in range(2):
        assert await store.upsert("bars_1m", bars(["A", "B"]), KEY, "revision") == []
        written.append(await store.fetch("SELECT symbol, xmin::text FROM bars_1m ORDER BY 1"))
    assert written[0] == written[1]
    assert await closes(store) == {"A": 10.0, "B": 10.0}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
async def test_the_newest_revision_stays_whatever_the_order(store: Store, order: list[int]) -> None:
    for revision in order:
        columns = bars(["A"], close=[10.0 + revision], revision=[revision])
        await store.upsert("bars_1m", columns, KEY, "revision")
    assert await closes(store) == {"A": 12.0}


async def test_of_several_revisions_in_one_batch_the_newest_stays(store: Store) -> None:
    columns = bars(["A", "A", "A"], close=[1.0, 3.0, 2.0], revision=[0, 2, 1])
    assert await store.upsert("bars_1m", columns, KEY, "revision") == []
    assert await closes(store) == {"A": 3.0}


async def test_without_a_revision_what_was_first_stays(store: Store) -> None:
    for close in (1.0, 2.0):
        await store.upsert("bars_1m", bars(["A"], close=[close]), KEY)
    assert await closes(store) == {"A": 1.0}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"symbol": ["A", "B\0", "C"]}, "invalid byte sequence"),
        ({"open": [1.0, None, 1.0]}, "not-null"),
        ({"open": [1.0, "much", 1.0]}, "must be real number"),
        ({"revision": [0, 2**40, 0]}, "out of int32 range"),
        ({"symbol": ["A", "B" * 100_000, "C"]}, "index row"),
    ],
    ids=["text", "null", "type", "range", "length"],
)
async def test_a_bad_row_costs_nobody_else(store: Store, wrong: Any, reason: str) -> None:
    if reason == "index row":
        wrong = {"symbol": ["A", "".join(chr(0x4E00 + k % 20_000) for k in range(40_000)), "C"]}
    bad = await store.upsert("bars_1m", bars(["A", "B", "C"], **wrong), KEY, "revision")
    assert [one.place for one in bad] == [1]
    assert reason in bad[0].reason
    assert list(await closes(store)) == ["A", "C"]


async def test_a_text_has_no_limit(store: Store) -> None:
    assert await store.upsert("bars_1m", bars(["LONG" * 100]), KEY) == []
    assert list(await closes(store)) == ["LONG" * 100]


async def test_a_database_that_is_away_is_an_outage() -> None:
    store = Store("postgresql://postgres@/postgres?host=%2Fnowhere")
    with pytest.raises(Outage):
        await store.fetch("SELECT 1")
    await store.close()


async def test_a_table_that_is_not_there_yet_is_an_outage_that_says_what_to_do(
    store: Store,
) -> None:
    with pytest.raises(Outage, match="run `jetscan migrate`"):
        await store.upsert("no_such_table", {"a": [1]}, ("a",))


async def test_a_mistake_in_a_statement_is_no_outage(store: Store) -> None:
    with pytest.raises(StoreError, match="syntax error"):
        await store.fetch("SELEKT 1")


async def test_a_statement_that_takes_too_long_is_ended(store: Store) -> None:
    async def slow(connection: Connection) -> None:
        await connection.script("SET LOCAL statement_timeout = 50")
        await connection.fetch("SELECT pg_sleep(20)")

    with pytest.raises(Outage, match="statement timeout"):
        await store.run(slow)


async def test_a_deadlock_is_tried_again_until_both_are_through(store: Store) -> None:
    await store.upsert("bars_1m", bars(["A", "B"]), KEY)
    met, runs = asyncio.Barrier(2), 0

    async def both(first: str, second: str) -> None:
        waits = True

        async def work(connection: Connection) -> None:
            nonlocal waits, runs
            runs += 1
            add = "UPDATE bars_1m SET volume = volume + 1 WHERE symbol = $1"
            await connection.script("SET LOCAL deadlock_timeout = '20ms'")
            await connection.fetch(add, first)
            if waits:
                waits = False
                await met.wait()
            await connection.fetch(add, second)

        await store.run(work)

    await asyncio.gather(both("A", "B"), both("B", "A"))
    rows = await store.fetch("SELECT volume FROM bars_1m")
    assert [row["volume"] for row in rows] == [12.0, 12.0]
    assert runs == 3


async def test_a_lost_connection_is_made_again(store: Store) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    await store.fetch("SELECT 1")
    other = Store(store._url)
    await other.fetch(kill)
    await other.close()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await store.fetch("SELECT 7 AS n") == [{"n": 7}]
                break
            except Outage:
                continue


# -- time


async def partitions(store: Store, table: str = "bars_1m") -> list[str]:
    rows = await store.fetch("SELECT child FROM partitions_of($1)", table)
    return [row["child"] for row in rows]


async def test_a_day_and_the_next_have_partitions_and_other_times_have_a_place(
    store: Store,
) -> None:
    far = datetime(2150, 1, 1, tzinfo=UTC)
    await store.fetch("SELECT make_room('bars_1m', $1)", [NOON, far])
    assert await partitions(store) == ["bars_1m_20260105", "bars_1m_20260106"]
    await store.upsert("bars_1m", bars(["A", "B"], timestamp=[NOON, far]), KEY)
    rows = await store.fetch(
        "SELECT tableoid::regclass::text AS place FROM bars_1m ORDER BY symbol"
    )
    assert [row["place"] for row in rows] == ["bars_1m_20260105", "bars_1m_other"]


async def test_rows_that_came_before_their_partition_move_into_it(store: Store) -> None:
    await store.upsert("bars_1m", bars(["A"]), KEY)
    await store.fetch("SELECT make_room('bars_1m', $1)", [NOON])
    rows = await store.fetch("SELECT tableoid::regclass::text AS place, close FROM bars_1m")
    assert rows == [{"place": "bars_1m_20260105", "close": 10.0}]
    await store.upsert("bars_1m", bars(["A"], close=[11.0], revision=[1]), KEY, "revision")
    assert await closes(store) == {"A": 11.0}


async def test_a_row_that_waits_for_its_partition_goes_into_it(store: Store) -> None:
    waiting = "SELECT FROM pg_locks WHERE NOT granted"
    async with store.transaction() as connection:
        await connection.fetch("SELECT make_room('bars_1m', $1)", [NOON])
        writing = asyncio.create_task(store.upsert("bars_1m", bars(["A"]), KEY))
        async with asyncio.timeout(10):
            while not await store.fetch(waiting):
                pass
    assert await writing == []
    rows = await store.fetch("SELECT tableoid::regclass::text AS place FROM bars_1m")
    assert rows == [{"place": "bars_1m_20260105"}]


async def test_several_writers_make_a_partition_once_and_lose_nothing(store: Store) -> None:
    async def write(symbol: str) -> None:
        for day in range(4):
            at = NOON + timedelta(days=day)
            assert await store.upsert("bars_1m", bars([symbol], timestamp=[at]), KEY) == []
            await store.fetch("SELECT make_room('bars_1m', $1)", [at])

    await asyncio.gather(*(write(symbol) for symbol in "ABCD"))
    assert len(await partitions(store)) == 5
    assert await store.fetch("SELECT count(*) FROM ONLY bars_1m_other") == [{"count": 0}]
    assert await store.fetch("SELECT count(*) FROM bars_1m") == [{"count": 16}]


async def test_what_is_older_than_the_policy_goes_when_a_new_day_begins(store: Store) -> None:
    await store.execute("UPDATE time_tables SET keep = '3 days' WHERE name = 'bars_1m'")
    for day in range(6):
        at = NOON + timedelta(days=day)
        await store.fetch("SELECT make_room('bars_1m', $1)", [at])
        await store.upsert("bars_1m", bars(["A"], timestamp=[at]), KEY)
    rows = await store.fetch("SELECT min(timestamp) AS first FROM bars_1m")
    assert rows[0]["first"] == NOON + timedelta(days=2)


async def test_a_time_in_the_future_makes_nothing_old(store: Store) -> None:
    await store.execute("UPDATE time_tables SET keep = '400 days' WHERE name = 'bars_1m'")
    await store.upsert("bars_1m", bars(["A"]), KEY)
    future = datetime(2090, 1, 1, tzinfo=UTC)
    await store.fetch("SELECT make_room('bars_1m', $1)", [NOON])
    before = await store.fetch(
        "SELECT now() - $1::timestamptz < interval '400 days' AS young", NOON
    )
    await store.fetch("SELECT make_room('bars_1m', $1)", [future])
    assert bool(await closes(store)) is before[0]["young"]


async def test_the_views_of_hours_and_days_fold_the_minutes(store: Store) -> None:
    at = [datetime(2026, 1, 5, 14, 59, tzinfo=UTC) + timedelta(minutes=k) for k in range(3)]
    columns = bars(
        ["A"] * 3,
        timestamp=at,
        open=[1.0, 2.0, 3.0],
        high=[5.0, 9.0, 4.0],
        low=[1.0, 2.0, 0.5],
        close=[2.0, 3.0, 4.0],
        volume=[10.0, 20.0, 30.0],
        vwap=[1.0, None, 2.0],
        count=[1, 2, 3],
    )
    await store.upsert("bars_1m", columns, KEY)
    hours = await store.fetch("SELECT * FROM bars_1h ORDER BY timestamp")
    assert [(row["open"], row["high"], row["low"], row["close"]) for row in hours] == [
        (1.0, 5.0, 1.0, 2.0),
        (2.0, 9.0, 0.5, 4.0),
    ]
    assert [row["vwap"] for row in hours] == [1.0, 2.0]
    (day,) = await store.fetch("SELECT * FROM bars_1d")
    assert day["timestamp"] == datetime(2026, 1, 5, 5, tzinfo=UTC)
    assert (day["open"], day["close"], day["volume"], day["count"]) == (1.0, 4.0, 60.0, 6)
    assert day["vwap"] == pytest.approx((10 + 60) / 40)
