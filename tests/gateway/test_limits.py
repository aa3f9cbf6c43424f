"""Limits: how many pass at once, what is shared by gateways, and what it is like without Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from redis.asyncio import Redis

from runtime.config import Settings
from runtime.embedded_valkey import EmbeddedValkey
from runtime.gateway import limits
from runtime.gateway.limits import Limit, Limits
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.gateway.running import SECRET, bearer, running

FIVE = Limit("five", 0.01, 5)  # and one more every 100 s


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = await EmbeddedValkey.start(tmp_path / "valkey")
    yield server
    await server.stop()


async def test_of_forty_requests_at_once_five_pass_and_the_rest_are_told_when(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    settings = Settings(
        mode="production", jwt_secret=SECRET, data_dir=str(tmp_path), api_rate_limit_rps=5
    )
    tokens = [
        bearer(jwt.encode({"sub": user, "exp": 9_999_999_999}, SECRET, "HS256"))
        for user in ("ann", "bob")
    ]
    async with running(nats, subjects, settings) as gate:
        begun = time.monotonic()
        asking = [gate.http.get("/api/v1/rules", headers=tokens[0]) for _ in range(40)]
        answers = await asyncio.gather(*asking)
        more = int((time.monotonic() - begun) * 5) + 1
        passed = [one for one in answers if one.status_code == 200]
        late = [one for one in answers if one.status_code == 429]
        assert 5 <= len(passed) <= 5 + more
        assert len(late) == 40 - len(passed)
        assert late[0].headers["content-type"] == "application/problem+json"
        assert late[0].headers["retry-after"] == "1"
        assert late[0].headers["ratelimit-remaining"] == "0"
        assert min(int(one.headers["ratelimit-remaining"]) for one in passed) == 0
        assert passed[0].headers["ratelimit-limit"] == "5"
        assert (await gate.http.get("/api/v1/rules", headers=tokens[1])).status_code == 200
        # without a token the address is counted, whatever it says of itself
        liars = [{"X-Forwarded-For": f"1.2.3.{k}"} for k in range(40)]
        found = await asyncio.gather(*(gate.http.get("/api/v1/rules", headers=h) for h in liars))
        assert {one.status_code for one in found} == {401, 429}
        assert (await gate.http.get("/health")).status_code == 200


def test_five_pass_at_once_and_one_more_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    here, limit = Limits(""), Limit("one", 2.0, 5)
    assert [here.take(limit, "a").is_let for _ in range(7)] == [True] * 5 + [False] * 2
    assert here.take(limit, "b").left == 4
    assert here.take(limit, "a").wait_s == pytest.approx(0.5)
    now += 0.5
    assert [here.take(limit, "a").is_let for _ in range(2)] == [True, False]
    now += 100
    assert [here.take(limit, "a").is_let for _ in range(7)] == [True] * 5 + [False] * 2


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_MAX", 10)
    here = Limits("")
    for k in range(100):
        here.take(FIVE, str(k))
    assert len(here._until) == 10


async def test_forty_at_once_through_two_gateways_pass_five(valkey: EmbeddedValkey) -> None:
    both = [Limits(valkey.url), Limits(valkey.url)]
    asking = [both[k % 2].take_shared(FIVE, "a") for k in range(40)]
    told = await asyncio.gather(*asking)
    assert sum(one.is_let for one in told) == 5
    async with Redis.from_url(valkey.url) as reader:
        (key,) = await reader.keys("limit:*")
        assert 0 < await reader.pttl(key) <= 501_000
    for one in both:
        await one.close()


async def test_what_passed_at_one_gateway_counts_at_the_other_a_moment_later(
    valkey: EmbeddedValkey,
) -> None:
    here, there = Limits(valkey.url), Limits(valkey.url)
    assert all(here.take(FIVE, "a").is_let for _ in range(3))
    await here.share()
    assert there.take(FIVE, "a").is_let
    await there.share()
    assert [there.take(FIVE, "a").is_let for _ in range(2)] == [True, False]
    for one in (here, there):
        await one.close()


async def test_what_was_let_through_too_much_is_paid_back_but_not_for_ever(
    valkey: EmbeddedValkey,
) -> None:
    shared = Limits(valkey.url)
    for _ in range(20):
        shared._until.clear()
        shared.take(FIVE, "a")
    await shared.share()
    (until,) = shared._until.values()
    assert until - time.monotonic() == pytest.approx(2 * FIVE.depth_s, abs=2)
    await shared.close()


async def test_without_redis_each_gateway_counts_for_itself_and_goes_on(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    here = Limits(server.url)
    assert (await here.take_shared(FIVE, "a")).left == 4
    await server.stop()
    told = [(await here.take_shared(FIVE, "a")).is_let for _ in range(5)]
    assert told == [True] * 4 + [False]
    here.take(FIVE, "b")
    await here.share()
    server = await EmbeddedValkey.start(tmp_path)
    assert (await here.take_shared(FIVE, "c")).is_let
    await here.close()
    await server.stop()
