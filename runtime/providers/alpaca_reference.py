"""Reference data from Alpaca's REST: assets, corporate actions, daily bars, news.

Source: Alpaca, trading API, assets; market data API, corporate actions, historical bars, news. Fundamentals
and earnings it has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import httpx
import msgspec

from runtime.providers import ProviderError, take_parameters
from runtime.providers.alpaca_rest import HOST
from runtime.providers.asked_reference import (
    Page,
    Row,
    Vendor,
    Wish,
    bar,
    day_of,
    decoded_answer,
    factor_of,
    once_for_each,
    page_of,
    paged,
    time_of,
)
from runtime.providers.parameters import secret
from runtime.providers.rest import TIMEOUT_S, rest_of

TRADING = "https://api.alpaca.markets"
FEEDS = ("sip", "iex", "otc")
SYMBOLS_A_REQUEST = 200  # what an address may be long
BAR_ROWS, ACTION_ROWS, NEWS_ROWS = 10_000, 1_000, 50
# Alpaca's names of exchanges as codes of ISO 10383, which toplists filter by.
MARKETS = {
    "NYSE": "XNYS",
    "NASDAQ": "XNAS",
    "AMEX": "XASE",
    "ARCA": "ARCX",
    "NYSEARCA": "ARCX",
    "OTC": "OTCM",
}


class _Asset(msgspec.Struct):
    symbol: str
    exchange: str | None = None
    name: str | None = None


class _Bar(msgspec.Struct):
    S: str
    t: str
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's name
    c: float
    v: float


class _Split(msgspec.Struct):
    symbol: str
    new_rate: float
    old_rate: float
    ex_date: str


class _Rename(msgspec.Struct):
    old_symbol: str
    new_symbol: str
    process_date: str


class AlpacaReference:
    """What Alpaca's servers answer, table by table."""

    def __init__(self, rest: str = HOST, trading: str = TRADING, feed: str = "sip") -> None:
        self._rest, self._trading, self._feed = rest, trading, feed

    def _client(self, host: str) -> httpx.Client:
        keys = {
            "APCA-API-KEY-ID": secret("ALPACA_KEY_ID"),
            "APCA-API-SECRET-KEY": secret("ALPACA_SECRET_KEY"),
        }
        return httpx.Client(base_url=host, headers=keys, timeout=TIMEOUT_S)

    def symbols(self, wish: Wish) -> Iterator[Page]:
        """Active stocks with exchange and name."""
        asked = {"status": "active", "asset_class": "us_equity"}
        with self._client(self._trading) as client:
            yield page_of(
                decoded_answer(client, "alpaca", "/v2/assets", asked), _Asset, _asset_row, wish
            )

    def daily_bars(self, wish: Wish) -> Iterator[Page]:
        """Daily bars as they traded; without symbols those of every active stock."""
        symbols = wish.asked or tuple(
            row["symbol"] for page in self.symbols(wish) for row in page.rows
        )
        all_of_them = Wish(wish.since, wish.until, symbols)
        with self._client(self._rest) as client:
            for part in all_of_them.parts(SYMBOLS_A_REQUEST) if symbols else ():
                asked = {
                    "symbols": ",".join(part),
                    "timeframe": "1Day",
                    "start": str(wish.since),
                    "end": str(wish.until),
                    "limit": str(BAR_ROWS),
                    "adjustment": "raw",
                    "feed": self._feed,
                    "sort": "asc",
                }
                for told in paged(client, "alpaca", "/v2/stocks/bars", asked, _page_token):
                    yield page_of(_of_symbols(_mapping(told).get("bars")), _Bar, _bar_row, wish)

    def splits(self, wish: Wish) -> Iterator[Page]:
        """Forward and reverse splits by the day they come with."""
        for told in self._actions("forward_split,reverse_split", wish):
            for kind in ("forward_splits", "reverse_splits"):
                yield page_of(told.get(kind), _Split, _split_row, wish)

    def renames(self, wish: Wish) -> Iterator[Page]:
        """Changed symbols."""
        for told in self._actions("name_change", wish):
            yield page_of(told.get("name_changes"), _Rename, _rename_row, wish)

    def _actions(self, types: str, wish: Wish) -> Iterator[Mapping[str, object]]:
        with self._client(self._rest) as client:
            for part in wish.parts(SYMBOLS_A_REQUEST):
                asked = {
                    "types": types,
                    "start": str(wish.since),
                    "end": str(wish.until),
                    "limit": str(ACTION_ROWS),
                    "sort": "asc",
                }
                asked |= {"symbols": ",".join(part)} if part else {}
                for told in paged(client, "alpaca", "/v1/corporate-actions", asked, _page_token):
                    yield _mapping(_mapping(told).get("corporate_actions"))

    def news_times(self, wish: Wish) -> Iterator[Page]:
        """When news came."""
        with self._client(self._rest) as client:
            for part in wish.parts(SYMBOLS_A_REQUEST):
                asked = {
                    "start": str(wish.since),
                    "end": str(wish.until + timedelta(1)),
                    "limit": str(NEWS_ROWS),
                    "sort": "asc",
                }
                asked |= {"symbols": ",".join(part)} if part else {}
                for told in paged(client, "alpaca", "/v1beta1/news", asked, _page_token):
                    yield page_of(
                        once_for_each(_mapping(told).get("news"), "symbols"), _News, _news_row, wish
                    )

    def sessions(self, since: date, until: date) -> dict[date, str]:
        """The days of trading, each with its close. Raises ProviderError."""
        asked = {"start": str(since), "end": str(until)}
        with self._client(self._trading) as client:
            told = decoded_answer(client, "alpaca", "/v2/calendar", asked)
        try:
            days = msgspec.convert(told, list[_Session])
            return {day_of(one.date): one.close[:5] for one in days}
        except (msgspec.ValidationError, ValueError) as error:
            raise ProviderError(f"alpaca: /v2/calendar: {error}") from error


class _Session(msgspec.Struct):
    date: str
    close: str


class _News(msgspec.Struct):
    symbol: str
    id: int | str
    created_at: str


def open_alpaca(given: dict[str, str]) -> Vendor:
    """alpaca?feed=sip&rest=https://...&trading=https://paper-api.alpaca.markets"""
    known = {"feed": _feed_of, "rest": rest_of, "trading": rest_of}
    found = AlpacaReference(**take_parameters(given, known))
    secret("ALPACA_KEY_ID"), secret("ALPACA_SECRET_KEY")
    return Vendor(
        "alpaca",
        {
            "symbols": found.symbols,
            "splits": found.splits,
            "renames": found.renames,
            "daily_bars": found.daily_bars,
            "news_times": found.news_times,
        },
        sessions=found.sessions,
    )


def _feed_of(text: str) -> str:
    if text not in FEEDS:
        raise ValueError(f"expected one of {', '.join(FEEDS)}")
    return text


def _page_token(told: object) -> Mapping[str, str] | None:
    token = _mapping(told).get("next_page_token")
    return {"page_token": str(token)} if token else None


def _mapping(told: object) -> dict[str, object]:
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise ProviderError(f"alpaca: expected an object, found {type(told).__name__}")
    return told


def _of_symbols(bars: object) -> list[object]:
    """Bars of every symbol, each with its symbol."""
    return [
        {**one, "S": symbol} if isinstance(one, dict) else one
        for symbol, several in _mapping(bars).items()
        for one in (several if isinstance(several, list) else [several])
    ]


def _asset_row(one: _Asset) -> Row:
    code = one.exchange or ""
    return {
        "symbol": one.symbol,
        "name": one.name or None,
        "exchange": MARKETS.get(code, code) or None,
    }


def _bar_row(one: _Bar) -> Row:
    return bar(one.S, day_of(one.t), (one.o, one.h, one.l, one.c), one.v)


def _split_row(one: _Split) -> Row:
    factor = factor_of(one.old_rate, one.new_rate)
    return {"symbol": one.symbol, "day": day_of(one.ex_date), "factor": factor}


def _rename_row(one: _Rename) -> Row | None:
    if one.old_symbol == one.new_symbol:  # only the name of the company changed
        return None
    day: date = day_of(one.process_date)
    return {"symbol": one.old_symbol, "day": day, "new_symbol": one.new_symbol}


def _news_row(one: _News) -> Row:
    return {"symbol": one.symbol, "timestamp": time_of(one.created_at), "id": str(one.id)}
