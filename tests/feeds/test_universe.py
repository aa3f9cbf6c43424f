"""Symbols added to and removed from a running feed, as each vendor is asked, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from runtime.connections import Connection
from runtime.providers import Batch, open_provider
from runtime.providers.universe import Universe
from tests.feeds.servers import Close, Hear, Say, Scripted, alpaca_hello, massive_hello, scripted
from tests.feeds.test_databento import KEY, _mapping, _metadata, _trade
from tests.feeds.test_live import trade


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY", "MASSIVE_KEY"):
        monkeypatch.setenv(name, f"the {name}")
    monkeypatch.setenv("DATABENTO_KEY", KEY)


@dataclass
class Feed:
    """A feed that is read, and everything that came of it."""

    provider: Any
    batches: list[Batch] = field(default_factory=list)

    @property
    def universe(self) -> Universe:
        return self.provider.universe

    async def read(self) -> None:
        connection = Connection(self.provider, asyncio.Event(), lambda low, _: low)
        async with contextlib.aclosing(connection.batches()) as batches:
            async for batch in batches:
                self.batches.append(batch)

    def of(self, kind: str) -> list[str]:
        """The symbols of all events of a kind, in order."""
        return [
            one.symbols[place]
            for one in self.batches
            if one.kind == kind and one.index is not None
            for place in one.index.tolist()
        ]


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def reading(url: str) -> AsyncIterator[Feed]:
    feed = Feed(open_provider(url))
    task = asyncio.create_task(feed.read())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def subscribed(*symbols: str) -> Say:
    return Say([{"T": "subscription", "trades": list(symbols), "quotes": [], "bars": []}])


def said(symbol: str, number: int) -> dict[str, Any]:
    return {**trade(number), "S": symbol}


def alpaca(server: Scripted, symbols: str = "A") -> str:
    return f"alpaca://test?symbols={symbols}&channels=trades&codec=json&host={server.url}"


async def test_a_symbol_is_added_and_another_removed_while_the_connection_stands() -> None:
    script = [
        *alpaca_hello("A"),
        Say([said("A", 1)]),
        Hear(),
        subscribed("A", "BRK.B"),
        Say([said("BRK.B", 2)]),
        Hear(),
        subscribed("BRK.B"),
        Say([said("A", 3), said("BRK.B", 4)]),
    ]
    async with scripted(script) as server, reading(alpaca(server)) as feed:
        await until(lambda: feed.of("trades") == ["A"])
        feed.universe.ask(["BRK.B"], [])
        await until(lambda: feed.of("trades") == ["A", "BRK.B"])
        feed.universe.ask(["BRK.B"], ["A"])
        await until(lambda: feed.of("trades") == ["A", "BRK.B", "BRK.B"])
        assert feed.universe.told()["acknowledged"] == ["BRK.B"]
    assert [json.loads(one) for one in server.heard[2:]] == [
        {"action": "subscribe", "trades": ["BRK.B"]},
        {"action": "unsubscribe", "trades": ["A"]},
    ]
    assert server.connections == 1


async def test_a_limit_leaves_the_connection_and_what_it_has_and_names_what_is_missing() -> None:
    limit = Say([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}])
    script = [*alpaca_hello("A"), Hear(), limit, Say([said("A", 1)])]
    async with scripted(script) as server, reading(alpaca(server)) as feed:
        await until(lambda: feed.universe.told()["acknowledged"] == ["A"])
        feed.universe.ask(["B"], [])
        await until(lambda: feed.of("trades") == ["A"])
        told = feed.universe.told()
        assert told["acknowledged"] == ["A"]
        assert told["refused"] == [{"reason": "symbol limit exceeded (405)", "symbols": ["B"]}]
    assert server.connections == 1


async def test_a_drop_is_a_gap_of_what_was_followed_then_and_the_wish_goes_to_the_next() -> None:
    first = [
        *alpaca_hello("A", "B"),
        Say([said("A", 1), said("B", 2)]),
        Hear(),
        subscribed("A"),
        Hear(),
        Close(),
    ]
    second = [*alpaca_hello("A", "C"), Say([said("C", 3), said("A", 4)])]
    async with scripted(first, second) as server, reading(alpaca(server, "A,B")) as feed:
        await until(lambda: feed.of("trades") == ["A", "B"])
        feed.universe.ask([], ["B"])
        await until(lambda: len(server.heard) == 3)
        feed.universe.ask(["C"], ["B"])
        await until(lambda: feed.of("trades") == ["A", "B", "C", "A"])
        assert feed.of("gaps") == ["A", "A"]  # it begins, and ends
    assert json.loads(server.heard[-1]) == {"action": "subscribe", "trades": ["A", "C"]}


async def test_of_everything_a_removed_symbol_is_left_out_here() -> None:
    script = [*alpaca_hello("*"), Say([said("A", 1), said("B", 2)]), Hear()]
    async with scripted(script) as server, reading(alpaca(server, "*")) as feed:
        feed.universe.ask(["C"], ["B"])
        await until(lambda: feed.of("trades") == ["A"])
        assert feed.universe.told()["acknowledged"] == ["*"]
    assert len(server.heard) == 2


async def test_a_feed_of_which_nothing_is_wanted_may_be_silent() -> None:
    script = [
        *alpaca_hello("A"),
        Say([said("A", 1)]),
        Hear(),
        subscribed(),
        Hear(),
        subscribed("A"),
    ]
    async with scripted(script) as server, reading(alpaca(server)) as feed:
        feed.provider.mute_s = 2.5
        await until(lambda: feed.of("trades") == ["A"])
        feed.universe.ask([], ["A"])
        await until(lambda: len(server.heard) == 3)
        quiet = len(feed.batches)
        await until(lambda: len(feed.batches) >= quiet + 5)  # seconds of clock and nothing else
        feed.universe.ask([], [])
        await until(lambda: len(server.heard) == 4)
        assert server.connections == 1
        assert feed.of("gaps") == []


async def test_massive_is_told_topics_and_names_what_it_acknowledges() -> None:
    def status(kind: str, text: str) -> Say:
        return Say([{"ev": "status", "status": kind, "message": text}])

    script = [
        *massive_hello(),
        Hear(),
        status("success", "subscribed to: T.B"),
        Hear(),
        status("error", "not authorized"),
        Hear(),
        status("success", "unsubscribed to: T.A"),
    ]
    async with scripted(script) as server:
        url = f"massive://stocks?symbols=A&channels=T&host={server.url}"
        async with reading(url) as feed:
            await until(lambda: feed.universe.told()["acknowledged"] == ["A"])
            feed.universe.ask(["B"], [])
            await until(lambda: feed.universe.told()["acknowledged"] == ["A", "B"])
            feed.universe.ask(["B", "C"], [])
            await until(lambda: feed.universe.told()["refused"])
            feed.universe.ask(["B", "C"], ["A"])
            await until(lambda: len(server.heard) == 5)
            told = feed.universe.told()
            assert told["acknowledged"] == ["B"]
            assert told["refused"] == [{"reason": "not authorized (error)", "symbols": ["C"]}]
    assert [json.loads(one) for one in server.heard[2:]] == [
        {"action": "subscribe", "params": "T.B"},
        {"action": "subscribe", "params": "T.C"},
        {"action": "unsubscribe", "params": "T.A"},
    ]


def binance(symbol: str, number: int) -> Say:
    now_ms = time.time_ns() // 10**6
    told = {"e": "trade", "s": symbol, "t": number, "p": "9.5", "q": "1", "T": now_ms, "E": now_ms}
    return Say({"stream": f"{symbol.lower()}@trade", "data": told})


async def test_binance_is_asked_by_number_and_what_was_not_asked_for_makes_no_hole() -> None:
    script = [
        Hear(),
        Say({"result": None, "id": 1}),
        binance("BTCUSDT", 1),
        Hear(),
        Say({"result": None, "id": 2}),
        Hear(),
        Say({"result": None, "id": 3}),
        binance("BTCUSDT", 7),
        Hear(),
        Say({"error": {"code": 2, "msg": "Invalid request"}, "id": 4}),
        binance("BTCUSDT", 9),
    ]
    async with (
        scripted(script) as server,
        reading(f"binance://btcusdt?host={server.url}") as feed,
    ):
        await until(lambda: feed.of("trades") == ["BTCUSDT"])
        feed.universe.ask([], ["BTCUSDT"])
        await until(lambda: len(server.heard) == 2)
        feed.universe.ask([], [])
        await until(lambda: feed.of("trades") == ["BTCUSDT"] * 2)
        assert feed.of("gaps") == []
        feed.universe.ask(["ETHUSDT"], [])
        await until(lambda: feed.of("trades") == ["BTCUSDT"] * 3)
        assert feed.of("gaps") == ["BTCUSDT"]  # 8 was asked for
        refused = [{"reason": "Invalid request (2)", "symbols": ["ETHUSDT"]}]
        assert feed.universe.told()["refused"] == refused
    asked = [json.loads(one) for one in server.heard]
    assert [one["method"] for one in asked] == [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SUBSCRIBE",
        "SUBSCRIBE",
    ]
    assert asked[0]["params"] == ["btcusdt@trade"]
    assert [one["id"] for one in asked] == [1, 2, 3, 4]


async def test_coinbase_tells_all_it_has_and_a_wrong_product_costs_itself() -> None:
    def has(*products: str) -> Say:
        channels = [{"name": "matches", "product_ids": list(products)}]
        return Say({"type": "subscriptions", "channels": channels})

    wrong = Say(
        {"type": "error", "message": "Failed to subscribe", "reason": "not a valid product"}
    )
    script = [
        Hear(),
        has("BTC-USD"),
        Hear(),
        wrong,
        Hear(),
        has("BTC-USD", "ETH-USD"),
        Hear(),
        wrong,
        Hear(),
        has("ETH-USD"),
    ]
    async with (
        scripted(script) as server,
        reading(f"coinbase://BTC-USD?host={server.url}") as feed,
    ):
        await until(lambda: feed.universe.told()["acknowledged"] == ["BTC-USD"])
        feed.universe.ask(["ETH-USD", "FOO-USD"], [])
        await until(lambda: feed.universe.told()["refused"])
        feed.universe.ask(["ETH-USD", "FOO-USD"], ["BTC-USD"])
        await until(lambda: len(server.heard) == 5)
        told = feed.universe.told()
    assert told["acknowledged"] == ["ETH-USD"]
    assert told["refused"][0]["symbols"] == ["FOO-USD"]
    asked = [json.loads(one) for one in server.heard]
    assert [one["product_ids"] for one in asked[1:4]] == [
        ["ETH-USD", "FOO-USD"],
        ["ETH-USD"],
        ["FOO-USD"],
    ]
    assert (asked[4]["type"], asked[4]["product_ids"]) == ("unsubscribe", ["BTC-USD"])
    assert server.connections == 1


async def test_databento_takes_more_while_it_runs_and_what_it_cannot_give_up_is_left_out() -> None:
    lines: list[str] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"cram=challenge\n")
        await reader.readline()
        writer.write(b"success=1|session_id=1\n")
        while (line := (await reader.readline()).decode()) != "start_session=0\n":
            lines.append(line.strip())
        writer.write(_metadata() + _mapping() + _trade(1, time.time_ns()))
        while line := (await reader.readline()).decode():
            lines.append(line.strip())
            writer.write(_trade(len(lines), time.time_ns()))
            if line.count("symbols=C"):
                writer.write(_mapping("C", 10))  # what came before it has been read then

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        url = f"databento://XNAS.ITCH?symbols=A&schemas=trades&host=127.0.0.1:{port}"
        async with reading(url) as feed:
            await until(lambda: feed.of("trades") == ["A"])
            assert feed.universe.told()["acknowledged"] == ["A"]
            feed.universe.ask(["B"], [])
            await until(lambda: feed.of("trades") == ["A", "A"])
            feed.universe.ask(["B", "C"], ["A"])
            await until(lambda: "C" in feed.universe.told()["acknowledged"])
            feed.universe.ask(["B", "C", "D"], [])
            await until(lambda: len(feed.of("trades")) == 3)  # the one between was left out
            assert feed.universe.told()["acknowledged"] == ["A", "C"]
            assert feed.universe.told()["unanswered"] == ["B", "D"]
        for writer in writers:
            writer.close()
        await asyncio.gather(*(one.wait_closed() for one in writers), return_exceptions=True)
    assert [dict(part.split("=") for part in one.split("|"))["symbols"] for one in lines] == list(
        "ABCD"
    )
