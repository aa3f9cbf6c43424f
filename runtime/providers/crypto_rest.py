"""Trades of Binance and Coinbase by their numbers: what a connection missed, oldest first.

Both number the trades of a symbol without holes, so pages are asked for by number. Source: Binance,
market data endpoints, old trade lookup; Coinbase Exchange, get product trades, and pagination
(`after` = older than).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import httpx
import msgspec
import numpy as np

from runtime.frames import Array
from runtime.providers import ProviderError
from runtime.providers.messages import (
    Parsed,
    SymbolTable,
    checked,
    floats,
    times_of_numbers,
    times_of_texts,
    whole,
)
from runtime.providers.rest import TIMEOUT_S, answer

BINANCE = "https://api.binance.com"
COINBASE = "https://api.exchange.coinbase.com"
PAGE_ROWS = 1_000

Page = TypeVar("Page")


class BinanceTrade(msgspec.Struct):
    id: int
    price: str
    qty: str
    time: int


class CoinbaseTrade(msgspec.Struct):
    trade_id: int
    price: str
    size: str
    time: str


def binance_missed(symbol: str, after: int, until: int, host: str = BINANCE) -> Iterator[Parsed]:
    """Trades past number `after`, to number `until`, or, where that is no later, to the newest; raises ProviderError."""
    with httpx.Client(base_url=host, timeout=TIMEOUT_S) as client:
        while True:
            asked = {"symbol": symbol, "fromId": str(after + 1), "limit": str(PAGE_ROWS)}
            body = answer(client, "binance", "/api/v3/historicalTrades", asked)
            page = _decoded(body, list[BinanceTrade], "binance")
            yield binance_trades(symbol, page)
            if len(page) < PAGE_ROWS or page[-1].id >= until > after:
                return
            after = page[-1].id


def binance_trades(symbol: str, page: list[BinanceTrade]) -> Parsed:
    """The trades of a page as columns."""
    columns = {
        "ts_ns": times_of_numbers([one.time for one in page]),
        "price": floats(one.price for one in page),
        "size": floats(one.qty for one in page),
        "id": whole(one.id for one in page),
        "count": np.ones(len(page), dtype=np.int64),
    }
    return _parsed(symbol, columns)


def coinbase_missed(symbol: str, after: int, until: int, host: str = COINBASE) -> Iterator[Parsed]:
    """Trades past number `after`, to number `until`, or, where that is no later, to the newest; raises ProviderError."""
    path = f"/products/{symbol}/trades"
    with httpx.Client(base_url=host, timeout=TIMEOUT_S) as client:
        if until <= after:
            body = answer(client, "coinbase", path, {"limit": "1"})
            newest = _decoded(body, list[CoinbaseTrade], "coinbase")
            until = newest[0].trade_id if newest else after
        while after < until:
            # Pages go back in time: the one that ends just before a number is the next one forward.
            end = min(after + PAGE_ROWS, until)
            asked = {"after": str(end + 1), "limit": str(end - after)}
            body = answer(client, "coinbase", path, asked)
            page = _decoded(body, list[CoinbaseTrade], "coinbase")
            new = (one for one in page if after < one.trade_id <= end)
            yield coinbase_trades(symbol, sorted(new, key=lambda one: one.trade_id))
            after = end


def coinbase_trades(symbol: str, page: list[CoinbaseTrade]) -> Parsed:
    """The trades of a page as columns."""
    columns = {
        "ts_ns": times_of_texts([one.time for one in page]),
        "price": floats(one.price for one in page),
        "size": floats(one.size for one in page),
        "id": whole(one.trade_id for one in page),
    }
    return _parsed(symbol, columns)


def _parsed(symbol: str, columns: dict[str, Array]) -> Parsed:
    parsed, table = Parsed(), SymbolTable(str)
    places = table.places([symbol] * len(columns["id"]))
    batch = checked("trades", places, columns, parsed, 0).batch(table)
    parsed.batches += [] if batch is None else [batch]
    return parsed


def _decoded(body: bytes, kind: type[Page], vendor: str) -> Page:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"{vendor}: trades: not a page: {error}") from error
