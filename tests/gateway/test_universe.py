"""The symbols of the feeds over REST: for admins, checked, noted, and what running feeds make of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime import universe
from runtime.bus import Bus
from runtime.providers import open_provider
from runtime.universe import Follower
from tests.conftest import database_in
from tests.gateway.deployment import running
from tests.gateway.test_owned import SECRET, People

PATH = "/universe"


@pytest.fixture
async def people(tmp_path: Path, postgres: str, template: str) -> AsyncIterator[People]:
    url = await database_in(postgres, template)
    async with running(tmp_path, url, mode="production", jwt_secret=SECRET) as made:
        people = People(made)
        async with people.ann, people.bob, people.root:
            yield people


@contextlib.asynccontextmanager
async def ingest(people: People) -> AsyncIterator[Any]:
    """A feed that is told what is asked of it, on a connection of its own."""
    bus = await Bus.connect(people.made.settings.nats_url, "ingest")
    provider: Any = open_provider("coinbase://BTC-USD")
    task = asyncio.create_task(Follower(bus, [provider]).keep())
    try:
        async with asyncio.timeout(20):
            while not await universe.feeds_of(bus):
                pass
        yield provider.universe
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()


@pytest.mark.parametrize("method", ["get", "post", "delete"])
async def test_the_universe_is_for_admins(people: People, method: str) -> None:
    body = {"add": ["AAPL"]} if method == "post" else None
    answer = await people.ann.request(method, PATH, json=body)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert await universe.wishes_of(people.made.bus) == universe.Wishes()


async def test_what_is_asked_reaches_the_feed_and_is_told_and_noted(people: People) -> None:
    async with ingest(people) as coins:
        body = {"add": ["eth-usd", "ETH-USD"], "remove": ["BTC-USD"], "source": "coinbase"}
        answer = await people.root.post(PATH, json=body)
        assert answer.json() == {
            "add": ["ETH-USD"],
            "remove": ["BTC-USD"],
            "source": "coinbase",
            "feeds": ["coinbase"],
        }
        async with asyncio.timeout(20):
            while coins.target() != ["ETH-USD"]:
                await asyncio.sleep(0.01)
        coins.refuse(["ETH-USD"], "not a valid product")
        told = (await people.root.get(PATH)).json()
        assert told["feeds"][0]["wanted"] == 1
        assert told["feeds"][0]["refused"] == [
            {"reason": "not a valid product", "symbols": ["ETH-USD"]}
        ]
        assert told["asked"] == [{"source": "coinbase", "add": ["ETH-USD"], "remove": ["BTC-USD"]}]
        assert (await people.root.delete(PATH)).status_code == 200
        async with asyncio.timeout(20):
            while coins.target() != ["BTC-USD"]:
                await asyncio.sleep(0.01)
    await people.made.gateway.audit.flush()
    noted = (await people.root.get("/admin/audit", params={"action": "universe."})).json()
    assert [(one["action"], one["target"]) for one in noted["entries"]] == [
        ("universe.reset", "all"),
        ("universe.change", "coinbase"),
    ]
    assert noted["entries"][1]["detail"]["add"] == ["ETH-USD"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"add": ["AAPL"]}, "AAPL: expected a symbol that one of coinbase can carry"),
        ({"add": ["DOGE-USD"], "source": "binance"}, "no feed 'binance' runs"),
        ({"add": ["A,B"]}, "expected a symbol such as"),
        ({"add": ["ZVZZT"]}, "exchanges test with it"),
        ({"add": ["X-USD"], "remove": ["X-USD"]}, "found in both"),
        ({}, "found none"),
        ({"add": ["S"] * 10_001}, "10000"),
        ({"ad": ["X-USD"]}, "ad"),
        ({"add": ["X-USD"], "source": "a b"}, "source: expected a feed"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_changes_nothing(
    people: People, body: Any, text: str
) -> None:
    async with ingest(people):
        answer = await people.root.post(PATH, json=body)
        assert answer.status_code == 400, answer.text
        assert text in answer.json()["detail"]
    assert await universe.wishes_of(people.made.bus) == universe.Wishes()


async def test_what_is_asked_while_no_feed_runs_is_kept(people: People) -> None:
    answer = await people.root.post(PATH, json={"add": ["brk/b"]})
    assert answer.json() == {"add": ["BRK.B"], "remove": [], "source": "", "feeds": []}
    told = (await people.root.get(PATH)).json()
    assert (told["count"], told["asked"]) == (0, [{"source": "", "add": ["BRK.B"], "remove": []}])


async def test_a_body_that_is_too_large_is_refused(people: People) -> None:
    answer = await people.root.post(PATH, json={"add": ["S" * 64] * 5_000})
    assert answer.status_code == 413
