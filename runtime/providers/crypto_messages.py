"""Public trade streams of Binance (spot and USD-M futures) and Coinbase Exchange as columns. Pure.

Prices and sizes are texts. Binance sends one object a frame, in combined streams wrapped as
{"stream", "data"}; its book ticker of the spot market has no time and no kind. Times are in ms, or us
where that was asked for. Source: Binance, web socket streams; Coinbase Exchange, websocket channels.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from runtime.providers import Batch
from runtime.providers.messages import (
    Columns,
    Control,
    Parsed,
    Reader,
    SymbolTable,
    checked,
    floats,
    times_of_numbers,
    times_of_texts,
    whole,
)

BINANCE_IGNORED = """depthUpdate kline 24hrTicker 24hrMiniTicker 1hTicker 4hTicker 1dTicker avgPrice referencePrice blockTrade
    markPriceUpdate forceOrder continuous_kline compositeIndex contractInfo assetIndexUpdate""".split()
COINBASE_IGNORED = """ticker status snapshot l2update received open done change activate rfq_match auction""".split()


class _Binance(msgspec.Struct, tag_field="e", gc=False):
    pass


class BinanceTrade(_Binance, tag="trade"):
    s: str
    t: int
    p: str
    q: str
    T: int
    E: int = 0
    m: bool = False
    M: bool = False
    X: str = ""
    b: int = 0
    a: int = 0
    st: Any = None


class BinanceAggregate(_Binance, tag="aggTrade"):
    s: str
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 -- the vendor's name
    T: int
    E: int = 0
    m: bool = False
    M: bool = False
    nq: str = ""
    st: Any = None


class BinanceBook(_Binance, tag="bookTicker"):
    s: str
    b: str
    B: str
    a: str
    A: str
    u: int = 0
    T: int = 0
    E: int = 0
    st: Any = None


class BinanceShutdown(_Binance, tag="serverShutdown"):
    E: int = 0


class _Wrapped(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class BinanceParser:
    """Frames of one connection to Binance."""

    def __init__(self) -> None:
        self.table = SymbolTable(str)  # BTCUSDT is no share class of anything
        kinds = (BinanceTrade, BinanceAggregate, BinanceBook, BinanceShutdown)
        self._reader = Reader(kinds, "e", BINANCE_IGNORED)
        self._wrapped = msgspec.json.Decoder(_Wrapped)
        self._plain = msgspec.json.Decoder(dict[str, Any])

    def parse(self, data: bytes, received_ns: int = 0) -> Parsed:
        """What a frame holds; a book ticker without a time has that of its receipt."""
        parsed = Parsed()
        data = self._unwrapped(data)
        if b'"e"' not in data:
            self._add_untagged(data, parsed, received_ns)
            return parsed
        for one in self._reader.read(data, parsed):
            if isinstance(one, BinanceTrade):
                count = np.ones(1, dtype=np.int64)
                self._keep(self._trades(one, one.t, count, parsed, received_ns), parsed)
            elif isinstance(one, BinanceAggregate):
                count = np.array([max(1, one.l - one.f + 1)])
                self._keep(self._trades(one, one.a, count, parsed, received_ns), parsed)
            elif isinstance(one, BinanceBook):
                self._keep(self._book(one, parsed, received_ns), parsed)
            else:
                parsed.controls.append(Control("closing", "serverShutdown"))
        return parsed

    def _unwrapped(self, data: bytes) -> bytes:
        if not data.lstrip()[:10].startswith(b'{"stream"'):
            return data
        try:
            return bytes(self._wrapped.decode(data).data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return data

    def _add_untagged(self, data: bytes, parsed: Parsed, received_ns: int) -> None:
        """An answer to a request, or a book ticker of the spot market."""
        try:
            told = self._plain.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            parsed.refuse(f"not a message: {error}")
            return
        if {"u", "s", "b", "B", "a", "A"} <= told.keys():
            symbol, bid, bids, ask, asks = (str(told[name]) for name in ("s", "b", "B", "a", "A"))
            book = BinanceBook(symbol, bid, bids, ask, asks)
            self._keep(self._book(book, parsed, received_ns), parsed)
        elif "error" in told or "code" in told:
            fault = told.get("error", told)
            code = str(fault.get("code", "")) if isinstance(fault, dict) else ""
            text = str(fault.get("msg", "")) if isinstance(fault, dict) else str(fault)
            parsed.controls.append(Control("error", code, text))
        elif "result" in told:
            parsed.controls.append(Control("subscribed" if told["result"] is None else "other"))
        elif "lastUpdateId" not in told:  # a partial book: known, and not used
            parsed.unknown["untagged"] += 1

    def _keep(self, events: Columns, parsed: Parsed) -> None:
        batch = events.batch(self.table)
        if batch is not None:
            parsed.batches.append(batch)

    def _trades(
        self, one: Any, number: int, count: Any, parsed: Parsed, received_ns: int
    ) -> Columns:
        columns = {
            "ts_ns": times_of_numbers([one.T]),
            "price": floats([one.p]),
            "size": floats([one.q]),
            "id": whole([number]),
            "count": count,
        }
        return checked("trades", self.table.places([one.s]), columns, parsed, received_ns)

    def _book(self, one: BinanceBook, parsed: Parsed, received_ns: int) -> Columns:
        ts_ns = times_of_numbers([one.T]) if one.T else np.array([received_ns])
        columns = {
            "ts_ns": ts_ns,
            "bid": floats([one.b]),
            "ask": floats([one.a]),
            "bid_size": floats([one.B]),
            "ask_size": floats([one.A]),
        }
        return checked("quotes", self.table.places([one.s]), columns, parsed, received_ns)


class _Coinbase(msgspec.Struct, tag_field="type", gc=False):
    pass


class _Match(_Coinbase):
    product_id: str
    trade_id: int
    price: str
    size: str
    time: str
    side: str = ""
    sequence: int = 0
    maker_order_id: str = ""
    taker_order_id: str = ""
    user_id: str = ""
    profile_id: str = ""


class Match(_Match, tag="match"):
    pass


class LastMatch(_Match, tag="last_match"):
    pass


class Heartbeat(_Coinbase, tag="heartbeat"):
    product_id: str
    sequence: int = 0
    last_trade_id: int = 0
    time: str = ""


class Subscriptions(_Coinbase, tag="subscriptions"):
    channels: list[Any]


class CoinbaseError(_Coinbase, tag="error"):
    message: str = ""
    reason: str = ""


class CoinbaseParser:
    """Frames of one connection to Coinbase Exchange."""

    def __init__(self) -> None:
        self.table = SymbolTable(str)
        kinds = (Match, LastMatch, Heartbeat, Subscriptions, CoinbaseError)
        self._reader = Reader(kinds, "type", COINBASE_IGNORED)
        self.last_trade_ids: dict[str, int] = {}  # as heartbeats tell them

    def parse(self, data: bytes, received_ns: int = 0) -> Parsed:
        """What a frame holds; a subscription begins with the last match of before, which is no news."""
        parsed = Parsed()
        for one in self._reader.read(data, parsed):
            if isinstance(one, Match):
                batch = self._trade(one, parsed, received_ns)
                parsed.batches += [] if batch is None else [batch]
            elif isinstance(one, Heartbeat):
                self.last_trade_ids[one.product_id] = one.last_trade_id
            elif isinstance(one, Subscriptions):
                parsed.controls.append(Control("subscribed", channels=_channels(one.channels)))
            elif isinstance(one, CoinbaseError):
                parsed.controls.append(Control("error", one.message, one.reason))
        return parsed

    def _trade(self, one: _Match, parsed: Parsed, received_ns: int) -> Batch | None:
        columns = {
            "ts_ns": times_of_texts([one.time]),
            "price": floats([one.price]),
            "size": floats([one.size]),
            "id": whole([one.trade_id]),
        }
        events = checked(
            "trades", self.table.places([one.product_id]), columns, parsed, received_ns
        )
        return events.batch(self.table)


def _channels(told: list[Any]) -> dict[str, list[str]]:
    named = (one for one in told if isinstance(one, dict))
    return {
        str(one.get("name")): [str(product) for product in one.get("product_ids") or ()]
        for one in named
    }
