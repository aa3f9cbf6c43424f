"""Toplists in a real Valkey: what is written, what lists share, and what happens when it goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from runtime.chain import Output
from runtime.embedded_valkey import EmbeddedValkey
from runtime.frames import Frame, texts
from runtime.redis_mirror import CONFIG_TTL_S, RANK_TTL_S, ConfigMirror, RankMirror

KEY = "toplist:change_pct:5m"


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = await EmbeddedValkey.start(tmp_path)
    yield server
    await server.stop()


def said(name: str, shown: dict[str, float], gone: tuple[str, ...] = (), key: str = KEY) -> Output:
    names = [*shown, *gone]
    columns = {
        "list": texts([name] * len(names)),
        "key": texts([key] * len(names)),
        "value": np.array([*shown.values(), *[np.nan] * len(gone)]),
        "rank": np.array([*range(1, len(shown) + 1), *[0] * len(gone)]),
    }
    frame = Frame(columns, names, np.arange(len(names)), "toplists")
    return Output("toplists.updated", b"", 0, "toplists.updated", frame, True)


async def test_lists_of_one_key_are_a_sorted_set_of_both_and_an_empty_one_is_none(
    valkey: EmbeddedValkey,
) -> None:
    mirror = RankMirror(valkey.url)
    mirror.note(said("gainers_5m", {"A": 3.0, "B": 2.0}))
    mirror.note(said("losers_5m", {"C": -1.0, "B": 2.0}))
    await mirror.flush()
    async with Redis.from_url(valkey.url, decode_responses=True) as reader:
        assert await reader.zrevrange(KEY, 0, -1) == ["A", "B", "C"]
        assert [await reader.zscore(KEY, one) for one in "ABC"] == [3.0, 2.0, -1.0]
        assert 0 < await reader.ttl(KEY) <= RANK_TTL_S
        mirror.note(said("gainers_5m", {}, ("A", "B")))
        await mirror.flush()
        assert await reader.zrange(KEY, 0, -1) == ["C", "B"]
        mirror.note(said("losers_5m", {}, ("C", "B")))
        await mirror.flush()
        assert not await reader.exists(KEY)
    await mirror.close()


async def test_a_redis_that_was_away_is_told_everything_again(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    mirror = RankMirror(server.url)
    mirror.note(said("gainers_5m", {"A": 3.0}))
    mirror.note(said("quiet", {"Q": 1.0}, key="toplist:user:ann:quiet"))
    await mirror.flush()
    await server.stop()
    mirror.note(said("gainers_5m", {"A": 4.0}))
    await mirror.flush()  # stops nothing
    server = await EmbeddedValkey.start(tmp_path)
    await mirror.flush()  # what changed, then the rest
    await mirror.flush()
    async with Redis.from_url(server.url, decode_responses=True) as reader:
        assert await reader.zscore(KEY, "A") == 4.0
        assert await reader.zscore("toplist:user:ann:quiet", "Q") == 1.0
    await mirror.close()
    await server.stop()


async def test_configurations_come_and_go_with_the_lists(valkey: EmbeddedValkey) -> None:
    mirror = ConfigMirror(valkey.url)
    mirror.note({"cheap": {"id": "cheap"}, "gainers_5m": {"id": "gainers_5m"}})
    await mirror.flush()
    async with Redis.from_url(valkey.url, decode_responses=True) as reader:
        assert await reader.get("toplist:config:cheap") == '{"id": "cheap"}'
        assert 0 < await reader.ttl("toplist:config:cheap") <= CONFIG_TTL_S
        mirror.note({"gainers_5m": {"id": "gainers_5m"}})
        await mirror.flush()
        assert await reader.keys("*") == ["toplist:config:gainers_5m"]
    await mirror.close()


async def test_without_an_address_nothing_is_kept() -> None:
    mirror = RankMirror("")
    mirror.note(said("gainers_5m", {"A": 3.0}))
    await mirror.flush()
    await mirror.keep()
