"""Bars of the past are kept in Redis for all gateways; without it, or when it goes, they come from the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from runtime.embedded_valkey import EmbeddedValkey
from tests.conftest import database_in
from tests.gateway.deployment import Running, running

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
PAST = {"from": "2026-01-05T14:00:00Z", "to": "2026-01-05T15:00:00Z"}


async def keep(made: Running, close: float) -> None:
    columns = {"symbol": ["A"], "timestamp": [AT], "volume": [5.0], "count": [1], "revision": [0]}
    columns |= {name: [close] for name in ("open", "high", "low", "close", "vwap")}
    await made.store.execute("DELETE FROM bars_1m")
    await made.store.fetch("SELECT make_room('bars_1m', $1)", [AT])
    await made.store.upsert("bars_1m", columns, ("symbol", "timestamp"), "revision")


async def closes(made: Running, **asked: str) -> list[float]:
    return [one["close"] for one in (await made.get("bars/A", **asked))["bars"]]


async def test_bars_of_the_past_are_given_again_and_others_are_looked_up(
    tmp_path: Path, postgres: str, template: str
) -> None:
    url = await database_in(postgres, template)
    valkey = await EmbeddedValkey.start(tmp_path)
    async with running(tmp_path, url, redis_url=valkey.url) as made:
        made.gateway.hub.newest_ns = int((AT + timedelta(days=1)).timestamp() * 1e9)
        await keep(made, 1.0)
        assert await closes(made, **PAST) == [1.0]
        assert await closes(made) == [1.0]
        await keep(made, 2.0)
        assert await closes(made, **PAST) == [1.0]  # kept
        assert await closes(made) == [2.0]  # the newest bars may change
        made.gateway.hub.newest_ns = int((AT + timedelta(hours=1)).timestamp() * 1e9)
        assert await closes(made, **PAST) == [2.0]  # not settled yet
        made.gateway.hub.newest_ns = int((AT + timedelta(days=1)).timestamp() * 1e9)
        await valkey.stop()
        assert await closes(made, **PAST) == [2.0]
        assert await closes(made, **PAST) == [2.0]
