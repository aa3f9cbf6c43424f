"""The vendors' own SDKs as readers of a chaos feed, as their guides set them up, told to open again where they can be.

alpaca-py             its stream's endless loop, `data_timeout` for silence
massive               `WebSocketClient.connect`
databento             `Live` with the reconnect policy `reconnect`; a heartbeat every 5 s, the least there is
binance-sdk-spot      Binance's SDK of today
binance-connector     Binance's SDK of before
coinbase-advanced-py  it speaks Advanced Trade only, not the Exchange's feed: the server does so for it
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from runtime.chaos.databento import DATASET
from runtime.chaos.dialects import Client, Coinbase, Dialect, rfc3339
from runtime.chaos.server import ChaosFeed
from runtime.chaos.tape import Print

MUTE_S = 3.0
LOUD = (
    *("alpaca", "massive", "WebSocketClient", "databento", "binance", "coinbase.WSClient"),
    *("root", "asyncio"),
)


@dataclass
class Got:
    """What a reader was given."""

    numbers: dict[str, list[int]] = field(default_factory=dict)
    is_told: bool = False
    heard_at_s: list[float] = field(default_factory=list)

    def take(self, symbol: str, number: int) -> None:
        """One print."""
        self.numbers.setdefault(symbol, []).append(number)
        self.heard_at_s.append(time.monotonic())

    def tell(self, *_: Any) -> None:
        """It said that it was cut off."""
        self.is_told = True


Reading = Callable[[ChaosFeed, Got], contextlib.AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Sdk:
    """A reader: of which vendor, which package it needs, how it reads, and what it speaks if that is not ours."""

    vendor: str
    module: str
    reading: Reading
    dialect: Callable[[], Dialect] | None = None


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    """Something that goes on meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _alpaca(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    from alpaca.data.live import StockDataStream

    async def handled(trade: Any) -> None:
        got.take(trade.symbol, int(trade.id))

    url = f"ws://127.0.0.1:{feed.port}/v2/iex"
    stream = StockDataStream("key", "secret", url_override=url, data_timeout=MUTE_S)
    stream.subscribe_trades(handled, "*")
    async with running(stream._run_forever()):
        yield


@contextlib.asynccontextmanager
async def _massive(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    from massive import WebSocketClient

    async def handled(trades: list[Any]) -> None:
        for one in trades:
            got.take(one.symbol, int(one.id))

    client = WebSocketClient(
        api_key="any", feed=f"127.0.0.1:{feed.port}", secure=False, subscriptions=["T.*"]
    )
    async with running(client.connect(handled)):
        yield


@contextlib.asynccontextmanager
async def _databento(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    import databento

    def handled(record: Any) -> None:
        if isinstance(record, databento.TradeMsg):
            got.take(str(record.instrument_id), int(record.sequence))

    client = databento.Live(
        key=f"db-{'x' * 29}",
        gateway="127.0.0.1",
        port=feed.port,
        heartbeat_interval_s=5,
        reconnect_policy="reconnect",
    )
    asked = {"dataset": DATASET, "schema": "trades", "symbols": "ALL_SYMBOLS"}
    await asyncio.to_thread(client.subscribe, **asked)
    client.add_callback(handled)
    client.add_reconnect_callback(got.tell)
    client.start()
    try:
        yield
    finally:
        client.terminate()


@contextlib.asynccontextmanager
async def _binance(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    from binance_common.configuration import ConfigurationWebSocketStreams
    from binance_sdk_spot.spot import Spot

    def handled(trade: Any) -> None:
        got.take(trade.s, trade.t)

    url = f"ws://127.0.0.1:{feed.port}/stream"
    streams = Spot(
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=url)
    ).websocket_streams
    connection = await streams.create_connection()
    for event in ("close", "reconnect"):
        connection.on_connection(event, got.tell)
    for symbol in feed.dialect.symbols:
        stream = await connection.trade(symbol=symbol.lower())
        stream.on("message", handled)
    try:
        yield
    finally:
        await connection.close_connection(close_session=True)


@contextlib.asynccontextmanager
async def _binance_connector(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

    def handled(_: Any, text: str) -> None:
        told = json.loads(text).get("data")
        if told:
            got.take(told["s"], told["t"])

    def opened() -> Any:
        return SpotWebsocketStreamClient(
            f"ws://127.0.0.1:{feed.port}",
            on_message=handled,
            on_error=got.tell,
            on_close=got.tell,
            is_combined=True,
            timeout=MUTE_S,
        )

    client = await asyncio.to_thread(opened)
    for symbol in feed.dialect.symbols:
        client.trade(symbol=symbol)
    yield  # its thread ends with the server


class Advanced(Coinbase):
    """Advanced Trade's websocket: the channel `market_trades`. Source: Coinbase, Advanced Trade websocket."""

    def hear(self, message: Any, client: Client, is_refusing: bool) -> list[Any]:
        del is_refusing  # trades need no key
        client.symbols |= set(message["product_ids"])
        told = {"subscriptions": {"market_trades": sorted(client.symbols)}}
        return [{"channel": "subscriptions", "events": [told]}]

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        trades = [
            {"trade_id": str(one.number), "product_id": one.symbol, "price": f"{one.price:.2f}"}
            | {"size": str(one.size), "side": "BUY", "time": rfc3339(one.ts_ns)}
            for one in prints
        ]
        return [{"channel": "market_trades", "events": [{"type": "update", "trades": trades}]}]


@contextlib.asynccontextmanager
async def _coinbase(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    from coinbase.websocket import WSClient

    def handled(text: str) -> None:
        told = json.loads(text)
        for event in told["events"] if told["channel"] == "market_trades" else ():
            for one in event["trades"]:
                got.take(one["product_id"], int(one["trade_id"]))

    client = WSClient(base_url=f"ws://127.0.0.1:{feed.port}", on_message=handled)
    await client.open_async()
    await client.subscribe_async(list(feed.dialect.symbols), ["market_trades"])
    try:
        yield
    finally:
        client._task.cancel()


SDKS = {
    "alpaca-py": Sdk("alpaca", "alpaca", _alpaca),
    "massive-sdk": Sdk("massive", "massive", _massive),
    "databento-sdk": Sdk("databento", "databento", _databento),
    "binance-sdk-spot": Sdk("binance", "binance_sdk_spot", _binance),
    "binance-connector": Sdk("binance", "binance", _binance_connector),
    "coinbase-advanced-py": Sdk("coinbase", "coinbase", _coinbase, Advanced),
}


def installed() -> dict[str, Sdk]:
    """Those whose package is here, by name."""
    return {name: one for name, one in SDKS.items() if importlib.util.find_spec(one.module)}
