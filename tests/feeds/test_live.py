"""A vendor's connection that drops, resets, goes mute or says no: what was sent comes out once, gaps are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.connections import Connection
from runtime.providers import Batch, open_provider
from runtime.providers.exchange import open_between
from runtime.providers.live import Live
from runtime.providers.trouble import Dropped
from tests.feeds.servers import (
    Close,
    Fin,
    Pause,
    Reset,
    Say,
    Scripted,
    alpaca_hello,
    massive_hello,
    scripted,
)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY", "MASSIVE_KEY"):
        monkeypatch.setenv(name, f"the {name}")


def trade(number: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"T": "t", "S": "A", "i": number, "x": "V", "p": 10.0, "s": 5, "t": now, "z": "A"}


def binance(number: int) -> dict[str, Any]:
    now_ms = time.time_ns() // 10**6
    told = {
        "e": "trade",
        "s": "BTCUSDT",
        "t": number,
        "p": "9.5",
        "q": "1",
        "T": now_ms,
        "E": now_ms,
    }
    return {"stream": "btcusdt@trade", "data": told}


def at_once(provider: Any) -> Connection:
    """A connection whose waits are as short as they may be."""
    return Connection(provider, asyncio.Event(), lambda low, _: low)


@contextlib.asynccontextmanager
async def reading(provider: Any) -> AsyncIterator[AsyncIterator[Batch]]:
    async with contextlib.aclosing(at_once(provider).batches()) as batches:
        yield batches


async def until_trades(batches: AsyncIterator[Batch], count: int) -> tuple[list[int], list[str]]:
    """Ids of trades until there are so many, and the kinds of everything that came."""
    ids: list[int] = []
    kinds: list[str] = []
    async with asyncio.timeout(20):
        async for batch in batches:
            kinds.append(batch.kind)
            if batch.kind == "trades":
                ids += batch.columns["id"].tolist()
            if len(ids) >= count:
                return ids, [one for one in kinds if one != "clock"]
    raise AssertionError(f"the feed ended with {ids}")


def alpaca(server: Scripted, **more: str) -> Live:
    words = "&".join(f"{name}={text}" for name, text in more.items())
    url = f"alpaca://test?symbols=A&channels=trades&codec=json&host={server.url}&{words}".rstrip(
        "&"
    )
    provider = open_provider(url)
    assert isinstance(provider, Live)
    return provider


@contextlib.asynccontextmanager
async def alpaca_feed(*scripts: Any) -> AsyncIterator[tuple[Scripted, AsyncIterator[Batch]]]:
    async with scripted(*scripts) as server, reading(alpaca(server)) as batches:
        yield server, batches


async def test_the_handshake_sends_the_keys_and_the_wish_and_trades_follow() -> None:
    async with alpaca_feed([*alpaca_hello("A"), Say([trade(1), trade(2)])]) as (server, batches):
        assert (await until_trades(batches, 2))[0] == [1, 2]
    auth, subscribe = (json.loads(one) for one in server.heard)
    assert auth == {"action": "auth", "key": "the ALPACA_KEY_ID", "secret": "the ALPACA_SECRET_KEY"}
    assert subscribe == {"action": "subscribe", "trades": ["A"]}


@pytest.mark.parametrize("end", [Close(1000), Close(1001), Close(1011), Fin(), Reset()])
async def test_any_end_that_we_did_not_ask_for_is_a_gap_and_a_new_connection(end: Any) -> None:
    first = [*alpaca_hello("A"), Say([trade(1)]), Pause(0.1), end]
    async with alpaca_feed(first, [*alpaca_hello("A"), Say([trade(2)])]) as (_server, batches):
        ids, kinds = await until_trades(batches, 2)
    assert ids == [1, 2]
    assert kinds == ["trades", "gaps", "gaps", "trades"]  # it begins, and ends


async def test_silence_longer_than_a_feed_may_be_silent_is_a_loss() -> None:
    script = [*alpaca_hello("A"), Say([trade(1)])]
    async with scripted(script, [*alpaca_hello("A"), Say([trade(2)])]) as server:
        provider = alpaca(server)
        provider.mute_s = 1.0
        async with reading(provider) as batches:
            assert (await until_trades(batches, 2))[0] == [1, 2]
    assert server.connections == 2


async def test_silence_while_the_market_is_closed_is_none_and_a_drop_then_loses_nothing() -> None:
    script = [*alpaca_hello("A"), Say([trade(1)]), Pause(2.5), Close()]
    async with scripted(script, [*alpaca_hello("A"), Say([trade(2)])]) as server:
        provider = alpaca(server)
        provider.mute_s = 1.0
        asked: list[tuple[int, int]] = []
        provider.open_between = lambda *span: bool(asked.append(span))
        repaired: list[list[int]] = []
        ids: list[int] = []
        async with reading(provider) as batches, asyncio.timeout(20):
            async for batch in batches:
                if batch.kind == "gaps":
                    repaired.append(batch.columns["repaired"].tolist())
                elif batch.kind == "trades":
                    ids += batch.columns["id"].tolist()
                if 2 in ids:
                    break
    assert server.connections == 2
    assert repaired == [[0], [1]]
    assert all(begin <= end <= time.time_ns() + 60 * 10**9 for begin, end in asked)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("2026-11-25T08:59:59", "2026-11-25T08:59:59", False),  # 03:59:59 in New York
        ("2026-11-25T09:00:00", "2026-11-25T09:00:00", True),
        ("2026-11-26T01:19:00", "2026-11-26T01:19:00", True),  # what is late comes until 20:20
        ("2026-11-26T01:21:00", "2026-11-27T08:59:00", False),  # Thanksgiving is between
        ("2026-11-26T01:21:00", "2026-11-27T09:01:00", True),
        ("2026-11-27T22:19:00", "2026-11-27T22:19:00", True),  # a half day ends at 17:00
        ("2026-11-27T22:21:00", "2026-11-30T08:59:00", False),  # and the weekend follows
        ("2026-03-09T07:59:00", "2026-03-09T07:59:00", False),  # clocks went forward the day before
        ("2026-03-09T08:00:00", "2026-03-09T08:00:00", True),
        ("2026-12-31T12:00:00", "2027-01-04T08:00:00", True),
        ("2027-01-01T01:30:00", "2027-01-04T08:00:00", False),
    ],
)
def test_when_stocks_could_trade(begin: str, end: str, expected: bool) -> None:
    span = (int(datetime.fromisoformat(f"{one}+00:00").timestamp()) * 10**9 for one in (begin, end))
    assert open_between(*span) is expected


@pytest.mark.parametrize("code", [402, 409])
async def test_a_wrong_key_ends_the_feed_and_says_so(code: int) -> None:
    hello = alpaca_hello()[:2]
    refused = Say([{"T": "error", "code": code, "msg": "auth failed"}])
    async with scripted([*hello, refused]) as server, reading(alpaca(server)) as batches:
        with pytest.raises(Dropped, match=str(code)):
            await until_trades(batches, 1)


async def test_a_request_that_is_refused_leaves_the_connection() -> None:
    limit = Say([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}])
    async with alpaca_feed([*alpaca_hello("A"), limit, Say([trade(1)])]) as (server, batches):
        assert (await until_trades(batches, 1))[0] == [1]
    assert server.connections == 1


async def test_broken_and_unknown_frames_cost_themselves() -> None:
    junk = [Say(b"\x00\xff"), Say("[{"), Say([{"T": "zz"}, 7, trade(1)]), Say({"a": {}})]
    async with alpaca_feed([*alpaca_hello("A"), *junk, Say([trade(2)])]) as (_server, batches):
        assert (await until_trades(batches, 2))[0] == [1, 2]


async def test_event_time_goes_on_when_nobody_trades() -> None:
    async with (
        alpaca_feed([*alpaca_hello("A"), Say([trade(1)])]) as (_server, batches),
        asyncio.timeout(20),
    ):
        await until_trades(batches, 1)
        begun_ns = time.time_ns()
        async for batch in batches:
            if batch.kind == "clock" and batch.newest_ns > begun_ns:
                return


async def test_massive_is_greeted_and_its_older_connection_backs_off_when_a_twin_comes() -> None:
    sent = {
        "ev": "T",
        "sym": "A",
        "p": 1,
        "s": 1,
        "z": 3,
        "x": 1,
        "i": "5",
        "t": time.time_ns() // 10**6,
    }
    kicked = [{"ev": "status", "status": "force_disconnect", "message": "another"}]
    script = [*massive_hello(), Say([sent]), Say(kicked)]
    waits: list[float] = []

    def noted(low: float, high: float) -> float:
        waits.append(high)
        return low

    then = [*massive_hello(), Say([{**sent, "i": "6"}])]
    async with scripted(script, then) as server:
        url = f"massive://stocks?symbols=A&channels=T&host={server.url}"
        connection = Connection(open_provider(url), asyncio.Event(), noted)
        async with contextlib.aclosing(connection.batches()) as batches:
            await until_trades(batches, 2)
    assert waits[0] == 30.0
    assert json.loads(server.heard[0]) == {"action": "auth", "params": "the MASSIVE_KEY"}
    assert json.loads(server.heard[1]) == {"action": "subscribe", "params": "T.A"}


async def test_numbers_tell_exactly_what_a_drop_lost_and_nothing_comes_twice() -> None:
    first = [Say(binance(1)), Say(binance(2)), Say(binance(2)), Pause(0.1), Reset()]
    async with scripted(first, [Say(binance(2)), Say(binance(5))]) as server:
        provider = open_provider(f"binance://btcusdt?host={server.url}")
        async with reading(provider) as batches:
            ids, kinds = await until_trades(batches, 3)
    assert ids == [1, 2, 5]
    assert kinds.count("gaps") >= 2


def test_keys_never_stand_in_an_address_and_are_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ALPACA_KEY_ID")
    with pytest.raises(ValueError, match="ALPACA_KEY_ID, or in the file that ALPACA_KEY_ID_FILE"):
        open_provider("alpaca://sip?symbols=A")
    with pytest.raises(ValueError, match="parameter key: expected one of"):
        open_provider("alpaca://sip?symbols=A&key=1")


class Rest:
    """An HTTP server that answers each request with the next page."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers, self.asked, self.port = list(answers), [], 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await reader.readuntil(b"\r\n\r\n")) and self.answers:
            self.asked.append(head.decode().split(" ")[1])
            status, told = self.answers.pop(0)
            body = json.dumps(told).encode()
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n".encode())
            writer.write(b"Connection: close\r\n\r\n" + body)
            writer.close()
            await writer.wait_closed()
            return


async def filled(*answers: tuple[int, Any]) -> tuple[Rest, list[tuple[str, list[int]]]]:
    """What comes out of a feed that dropped once between trades 1 and 4."""
    rest = Rest(*answers)
    again = await asyncio.start_server(rest.serve, "127.0.0.1", 0)
    rest.port = again.sockets[0].getsockname()[1]
    first = [*alpaca_hello("A"), Say([trade(1)]), Pause(0.1), Close()]
    second = [*alpaca_hello("A"), Say([trade(4)]), Pause(1.5), Say([trade(5)])]
    told: list[tuple[str, list[int]]] = []
    async with again, scripted(first, second) as server:
        url = f"alpaca://sip?symbols=A&channels=trades&codec=json&host={server.url}"
        provider = open_provider(f"{url}&rest=http://127.0.0.1:{rest.port}")
        async with reading(provider) as batches, asyncio.timeout(20):
            async for batch in batches:
                if batch.kind == "trades":
                    told.append(("trades", batch.columns["id"].tolist()))
                elif batch.kind == "gaps":
                    told.append(("gap", batch.columns["repaired"].tolist()))
                if told and told[-1] == ("trades", [5]):
                    return rest, told
    raise AssertionError(told)


async def test_what_a_drop_lost_is_asked_for_and_comes_page_by_page_before_the_gap_is_repaired() -> (
    None
):
    pages = [
        (200, {"trades": {"A": [trade(2)]}, "next_page_token": "more"}),
        (429, {}),
        (
            200,
            {"trades": {"A": [trade(3), {**trade(9), "u": "canceled"}]}, "next_page_token": None},
        ),
    ]
    rest, told = await filled(*pages)
    assert told == [
        ("trades", [1]),
        ("gap", [0]),
        ("gap", [0]),
        ("trades", [4]),
        ("trades", [2]),
        ("trades", [3]),
        ("gap", [1]),
        ("trades", [5]),
    ]
    assert "symbols=A" in rest.asked[0]
    assert "page_token=more" in rest.asked[2]


async def test_a_gap_that_cannot_be_filled_stays_one_and_the_feed_goes_on() -> None:
    _, told = await filled((403, {"message": "no"}))
    assert told == [("trades", [1]), ("gap", [0]), ("gap", [0]), ("trades", [4]), ("trades", [5])]
