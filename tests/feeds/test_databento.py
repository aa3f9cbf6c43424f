"""A Databento session over TCP: challenge, subscription, records in pieces, and going on after a drop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import databento_dbn as dbn
import pytest

from runtime.connections import Connection
from runtime.providers import Batch, open_provider
from runtime.providers.trouble import Dropped
from tests.feeds.test_live import until_trades

KEY = "db-0123456789abcdef"


@dataclass
class Gateway:
    """A gateway that serves each connection a list of prices and then ends it."""

    sessions: list[list[int]]
    is_refusing: bool = False
    stamp: Callable[[int], int] = lambda number: time.time_ns() + number
    port: int = 0
    lines: list[str] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        self.writers.append(writer)
        writer.write(b"lsg_version=0.4.2\ncram=challenge\n")
        digest = hashlib.sha256(f"challenge|{KEY}".encode()).hexdigest()
        auth = (await reader.readline()).decode()
        is_good = f"auth={digest}-bcdef|" in auth and not self.is_refusing
        writer.write(b"success=1|session_id=1\n" if is_good else b"success=0|error=bad key\n")
        if not is_good:
            writer.close()
            return
        while (line := (await reader.readline()).decode()) != "start_session=0\n":
            self.lines.append(line.strip())
        data = (
            _metadata()
            + _mapping()
            + b"".join(_trade(one, self.stamp(one)) for one in self.sessions[number])
        )
        for place in range(0, len(data), 37):
            writer.write(data[place : place + 37])
            await writer.drain()
        if number < len(self.sessions) - 1:
            writer.close()


def _metadata() -> bytes:
    told = dbn.Metadata(
        dataset="XNAS.ITCH",
        start=0,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.TRADES,
        symbols=["A"],
    )
    return told.encode()


def _mapping(symbol: str = "A", instrument: int = 9) -> bytes:
    one = dbn.SymbolMappingMsg(
        publisher_id=1,
        instrument_id=instrument,
        ts_event=1,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_in_symbol=symbol,
        stype_out=dbn.SType.INSTRUMENT_ID,
        stype_out_symbol=symbol,
        start_ts=0,
        end_ts=dbn.UNDEF_TIMESTAMP,
    )
    return bytes(one)


def _trade(number: int, ts_ns: int) -> bytes:
    one = dbn.TradeMsg(
        publisher_id=1,
        instrument_id=9,
        ts_event=ts_ns,
        price=10**9 * number,
        size=1,
        action=dbn.Action.TRADE,
        side=dbn.Side.NONE,
        depth=0,
        ts_recv=time.time_ns(),
        sequence=number,
    )
    return bytes(one)


@contextlib.asynccontextmanager
async def gateway(*sessions: list[int], **more: Any) -> AsyncIterator[Gateway]:
    told = Gateway(list(sessions), **more)
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    async with server:
        yield told
        for writer in told.writers:
            writer.close()
        await asyncio.gather(*(one.wait_closed() for one in told.writers), return_exceptions=True)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABENTO_KEY", KEY)


@contextlib.asynccontextmanager
async def reading(told: Gateway) -> AsyncIterator[AsyncIterator[Batch]]:
    url = f"databento://XNAS.ITCH?symbols=A&schemas=trades&host=127.0.0.1:{told.port}"
    connection = Connection(open_provider(url), asyncio.Event(), lambda low, _: low)
    async with contextlib.aclosing(connection.batches()) as batches:
        yield batches


async def test_a_session_answers_the_challenge_subscribes_and_reads_records_cut_anywhere() -> None:
    async with gateway([1, 2, 3]) as told, reading(told) as batches:
        assert (await until_trades(batches, 3))[0] == [1, 2, 3]
    assert told.lines == ["schema=trades|stype_in=raw_symbol|symbols=A|snapshot=0|is_last=1"]


async def test_a_session_that_ends_is_opened_again_from_the_newest_event_on() -> None:
    async with gateway([1, 2], [3]) as told, reading(told) as batches:
        ids, kinds = await until_trades(batches, 3)
    assert ids == [1, 2, 3]
    assert "gaps" in kinds
    start = dict(one.split("=", 1) for one in told.lines[1].split("|"))["start"]
    assert abs(int(start) - time.time_ns()) < 60 * 10**9


async def test_events_of_one_time_that_a_drop_cut_apart_come_once_each() -> None:
    now_ns = time.time_ns()
    async with (
        gateway([1, 2], [1, 2, 3, 4], stamp=lambda _: now_ns) as told,
        reading(told) as batches,
    ):
        assert (await until_trades(batches, 4))[0] == [1, 2, 3, 4]


async def test_an_event_older_than_the_newest_one_is_not_lost_by_a_drop_between() -> None:
    now_ns = time.time_ns()
    stamp = {1: now_ns, 2: now_ns + 10**9, 3: now_ns + 5 * 10**8, 4: now_ns + 2 * 10**9}
    async with (
        gateway([1, 2], [1, 2, 3, 4], stamp=stamp.__getitem__) as told,
        reading(told) as batches,
    ):
        assert (await until_trades(batches, 4))[0] == [1, 2, 3, 4]


async def test_a_wrong_key_is_final() -> None:
    async with gateway([1], is_refusing=True) as told, reading(told) as batches:
        with pytest.raises(Dropped, match="databento"):
            await until_trades(batches, 1)
    assert told.connections == 1
