"""Reference data from Binance and Coinbase: what trades, and daily bars in UTC. Neither needs keys.

Source: Binance, market data endpoints, exchange information and klines; Coinbase Exchange, get all
products and get product candles. Daily bars are asked for symbol by symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import msgspec

from runtime.providers import take_parameters
from runtime.providers.asked_reference import (
    NotToBeHad,
    Page,
    Row,
    Vendor,
    Wish,
    bar,
    decoded_answer,
    page_of,
)
from runtime.providers.crypto_rest import BINANCE, COINBASE
from runtime.providers.rest import TIMEOUT_S, rest_of

KLINES, CANDLES = 1_000, 300  # days an answer may have
DAY_S = 86_400
SYMBOLS_MAX = 1_000


class _Pair(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str = ""
    quote_asset: str = ""


class _Product(msgspec.Struct):
    id: str
    status: str
    display_name: str = ""


class _Kline(msgspec.Struct, array_like=True):
    symbol: str
    start: float
    open: str
    high: str
    low: str
    close: str
    volume: str


class _Candle(msgspec.Struct, array_like=True):
    symbol: str
    start: float
    low: float
    high: float
    open: float
    close: float
    volume: float


class BinanceReference:
    """What Binance's server answers, table by table."""

    def __init__(self, rest: str = BINANCE) -> None:
        self._rest = rest

    def symbols(self, wish: Wish) -> Iterator[Page]:
        """Pairs that trade."""
        with httpx.Client(base_url=self._rest, timeout=TIMEOUT_S) as client:
            told = decoded_answer(client, "binance", "/api/v3/exchangeInfo", {})
        yield page_of(
            told.get("symbols") if isinstance(told, dict) else told, _Pair, _pair_row, wish
        )

    def daily_bars(self, wish: Wish) -> Iterator[Page]:
        """Days that are over, symbol by symbol; raises NotToBeHad where none is named."""
        _check("binance", wish)
        with httpx.Client(base_url=self._rest, timeout=TIMEOUT_S) as client:
            for symbol in wish.symbols:
                for since, until in _spans(wish, KLINES):
                    asked = {
                        "symbol": symbol,
                        "interval": "1d",
                        "startTime": str(_seconds(since) * 1000),
                        "endTime": str(_seconds(until) * 1000),
                        "limit": str(KLINES),
                    }
                    told = decoded_answer(client, "binance", "/api/v3/klines", asked)
                    yield page_of(_named(symbol, told), _Kline, _kline_row, wish)


class CoinbaseReference:
    """What Coinbase's server answers, table by table."""

    def __init__(self, rest: str = COINBASE) -> None:
        self._rest = rest

    def symbols(self, wish: Wish) -> Iterator[Page]:
        """Products that trade."""
        with httpx.Client(base_url=self._rest, timeout=TIMEOUT_S) as client:
            told = decoded_answer(client, "coinbase", "/products", {})
        yield page_of(told, _Product, _product_row, wish)

    def daily_bars(self, wish: Wish) -> Iterator[Page]:
        """Days that are over, symbol by symbol; raises NotToBeHad where none is named."""
        _check("coinbase", wish)
        with httpx.Client(base_url=self._rest, timeout=TIMEOUT_S) as client:
            for symbol in wish.symbols:
                for since, until in _spans(wish, CANDLES):
                    asked = {
                        "granularity": str(DAY_S),
                        "start": f"{since}T00:00:00Z",
                        "end": f"{until}T00:00:00Z",
                    }
                    path = f"/products/{symbol}/candles"
                    told = decoded_answer(client, "coinbase", path, asked)
                    yield page_of(_named(symbol, told), _Candle, _candle_row, wish)


def open_binance(given: dict[str, str]) -> Vendor:
    """binance?rest=https://..."""
    found = BinanceReference(**take_parameters(given, {"rest": rest_of}))
    tables = {"symbols": found.symbols, "daily_bars": found.daily_bars}
    return Vendor("binance", tables, needs_symbols=("daily_bars",), zone="UTC")


def open_coinbase(given: dict[str, str]) -> Vendor:
    """coinbase?rest=https://..."""
    found = CoinbaseReference(**take_parameters(given, {"rest": rest_of}))
    tables = {"symbols": found.symbols, "daily_bars": found.daily_bars}
    return Vendor("coinbase", tables, needs_symbols=("daily_bars",), zone="UTC")


def _check(vendor: str, wish: Wish) -> None:
    if not 0 < len(wish.symbols) <= SYMBOLS_MAX:
        raise NotToBeHad(
            f"{vendor}: daily bars are asked for symbol by symbol: name 1 to {SYMBOLS_MAX}"
        )


def _spans(wish: Wish, days: int) -> Iterator[tuple[date, date]]:
    since = wish.since
    while since <= wish.until:
        until = min(since + timedelta(days - 1), wish.until)
        yield since, until
        since = until + timedelta(1)


def _named(symbol: str, told: object) -> object:
    """Rows that are lists, each with its symbol."""
    if not isinstance(told, list):
        return told
    return [[symbol, *one] if isinstance(one, list) else one for one in told]


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _pair_row(one: _Pair) -> Row | None:
    if one.status != "TRADING":
        return None
    name = f"{one.base_asset}/{one.quote_asset}"
    return {"symbol": one.symbol, "name": name, "exchange": "BINANCE", "type": "crypto"}


def _product_row(one: _Product) -> Row | None:
    if one.status != "online":
        return None
    name = one.display_name or one.id
    return {"symbol": one.id, "name": name, "exchange": "COINBASE", "type": "crypto"}


def _kline_row(one: _Kline) -> Row:
    prices = [float(text) for text in (one.open, one.high, one.low, one.close)]
    return bar(one.symbol, _day(one.start / 1000), prices, float(one.volume))


def _candle_row(one: _Candle) -> Row:
    return bar(one.symbol, _day(one.start), (one.open, one.high, one.low, one.close), one.volume)
