"""Reference data from Massive's REST: tickers, splits, renames, daily bars, fundamentals, earnings, news.

Source: Massive, REST, stocks: tickers, ticker events, splits, daily market summary, float, short interest,
ratios, news; partners: Benzinga earnings. What a plan does not have is told and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

import httpx
import msgspec
import numpy as np

from runtime.providers import ProviderError, take_parameters
from runtime.providers.asked_reference import (
    REGULAR_CLOSE,
    NotToBeHad,
    Page,
    Row,
    Vendor,
    Wish,
    bar,
    day_of,
    decoded_answer,
    factor_of,
    midnight,
    of_each,
    once_for_each,
    page_of,
    paged,
    time_of,
)
from runtime.providers.massive_rest import HOST
from runtime.providers.parameters import secret
from runtime.providers.rest import TIMEOUT_S, rest_of

PAGE_ROWS = 1_000
RENAMES_MAX = 1_000  # each symbol is a request of its own
SATURDAY = 5
NEW_YORK = ZoneInfo("America/New_York")
# FINRA publishes short interest on the seventh business day after settlement. Source: FINRA, Rule 4560, schedule.
SHORTS_KNOWN_DAYS = 7


class _Ticker(msgspec.Struct):
    ticker: str
    name: str | None = None
    primary_exchange: str | None = None
    type: str | None = None


class _Split(msgspec.Struct):
    ticker: str
    execution_date: str
    split_from: float
    split_to: float


class _Bar(msgspec.Struct):
    T: str
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's name
    c: float
    v: float


class _Change(msgspec.Struct):
    symbol: str
    day: str
    new_symbol: str


class _Ticked(msgspec.Struct):
    ticker: str


class _Event(msgspec.Struct):
    date: str
    ticker_change: _Ticked


class _Float(msgspec.Struct):
    ticker: str
    effective_date: str
    free_float: float


class _Short(msgspec.Struct):
    ticker: str
    settlement_date: str
    days_to_cover: float | None = None
    short_interest: float | None = None


class _Ratio(msgspec.Struct):
    ticker: str
    date: str
    market_cap: float


class _Earnings(msgspec.Struct):
    ticker: str
    date: str


class _Unusual(msgspec.Struct):
    date: str
    exchange: str
    status: str
    close: str | None = None


class _News(msgspec.Struct):
    symbol: str
    id: str
    published_utc: str


class MassiveReference:
    """What Massive's server answers, table by table."""

    def __init__(self, rest: str = HOST) -> None:
        self._rest = rest

    def _client(self) -> httpx.Client:
        key = {"Authorization": f"Bearer {secret('MASSIVE_KEY')}"}
        return httpx.Client(base_url=self._rest, headers=key, timeout=TIMEOUT_S)

    def _records(self, path: str, asked: Mapping[str, str]) -> Iterator[object]:
        asked = {"limit": str(PAGE_ROWS), **asked}
        with self._client() as client:
            for told in paged(client, "massive", path, asked, _following):
                yield _results(told)

    def symbols(self, wish: Wish) -> Iterator[Page]:
        """Active stocks with exchange, name and type."""
        asked = {"market": "stocks", "active": "true", "sort": "ticker"}
        for records in self._records("/v3/reference/tickers", asked):
            yield page_of(records, _Ticker, _ticker_row, wish)

    def splits(self, wish: Wish) -> Iterator[Page]:
        """Splits by the day they come with."""
        for records in self._records("/stocks/v1/splits", _between("execution_date", wish)):
            yield page_of(records, _Split, _split_row, wish)

    def renames(self, wish: Wish) -> Iterator[Page]:
        """Changed symbols, one request a symbol; raises ProviderError for all, or for too many."""
        if not 0 < len(wish.asked) <= RENAMES_MAX:
            raise NotToBeHad(
                f"massive: renames are asked for symbol by symbol: name 1 to {RENAMES_MAX}"
            )
        with self._client() as client:

            def page(symbol: str) -> Page:
                path = f"/vX/reference/tickers/{symbol}/events"
                told = decoded_answer(client, "massive", path, {"types": "ticker_change"})
                return page_of(_changes(told), _Change, partial(_change_row, wish), wish)

            yield from of_each(wish.asked, page)

    def daily_bars(self, wish: Wish) -> Iterator[Page]:
        """Daily bars of all stocks as they traded, one request a day."""
        asked = {"adjusted": "false"}
        with self._client() as client:
            for day in wish.days():
                if day.weekday() < SATURDAY:
                    path = f"/v2/aggs/grouped/locale/us/market/stocks/{day}"
                    told = decoded_answer(client, "massive", path, asked)
                    yield page_of(_results(told), _Bar, partial(_bar_row, day), wish)

    def fundamentals(self, wish: Wish) -> Iterator[Page]:
        """Float, market capitalisation and short interest, each dated when it was known."""
        floats: dict[str, float] = {}
        missing: list[str] = []
        for pages in (self._floats(wish, floats), self._ratios(wish), self._shorts(wish, floats)):
            try:
                yield from pages
            except NotToBeHad as error:
                missing.append(str(error))
        if missing:
            raise NotToBeHad("; ".join(missing))

    def _floats(self, wish: Wish, floats: dict[str, float]) -> Iterator[Page]:
        for records in self._records("/stocks/vX/float", {}):
            page = page_of(records, _Float, _float_row, wish)
            floats |= {row["symbol"]: row["value"] for row in page.rows}
            yield page

    def _ratios(self, wish: Wish) -> Iterator[Page]:
        for records in self._records("/stocks/financials/v1/ratios", {}):
            yield page_of(records, _Ratio, _ratio_row, wish)

    def _shorts(self, wish: Wish, floats: Mapping[str, float]) -> Iterator[Page]:
        between = _between("settlement_date", wish)
        for records in self._records("/stocks/v1/short-interest", between):
            ratios = page_of(records, _Short, _ratio_of_shorts, wish)
            shares = page_of(records, _Short, _shares_short, wish)
            yield ratios
            rows = [
                {
                    **row,
                    "name": "short_interest_pct",
                    "value": 100.0 * row["value"] / floats[row["symbol"]],
                }
                for row in shares.rows
                if floats.get(row["symbol"], 0.0) > 0
            ]
            yield Page(rows)

    def earnings(self, wish: Wish) -> Iterator[Page]:
        """Dates of earnings; at what time of them is not told in a known zone."""
        for records in self._records("/benzinga/v1/earnings", _between("date", wish)):
            yield page_of(records, _Earnings, _earnings_row, wish)

    def news_times(self, wish: Wish) -> Iterator[Page]:
        """When news came."""
        asked = {
            "published_utc.gte": str(wish.since),
            "published_utc.lt": str(wish.until + timedelta(1)),
            "order": "asc",
            "sort": "published_utc",
        }
        for records in self._records("/v2/reference/news", asked):
            yield page_of(once_for_each(records, "tickers"), _News, _news_row, wish)

    def sessions(self, since: date, until: date) -> dict[date, str]:
        """The days of trading, each with its close; Massive tells the ones to come that are unusual. Raises ProviderError."""
        with self._client() as client:
            told = decoded_answer(client, "massive", "/v1/marketstatus/upcoming", {})
        days = {day: REGULAR_CLOSE for day in Wish(since, until).days() if day.weekday() < SATURDAY}
        try:
            for one in msgspec.convert(told, list[_Unusual]):
                day = day_of(one.date)
                if one.exchange != "NYSE" or day not in days:
                    continue
                if one.status == "closed":
                    del days[day]
                elif one.close:
                    days[day] = time_of(one.close).astimezone(NEW_YORK).strftime("%H:%M")
        except (msgspec.ValidationError, ValueError) as error:
            raise ProviderError(f"massive: /v1/marketstatus/upcoming: {error}") from error
        return days


def open_massive(given: dict[str, str]) -> Vendor:
    """massive?rest=https://..."""
    found = MassiveReference(**take_parameters(given, {"rest": rest_of}))
    secret("MASSIVE_KEY")
    return Vendor(
        "massive",
        {
            "symbols": found.symbols,
            "splits": found.splits,
            "renames": found.renames,
            "daily_bars": found.daily_bars,
            "fundamentals": found.fundamentals,
            "earnings": found.earnings,
            "news_times": found.news_times,
        },
        needs_symbols=("renames",),
        sessions=found.sessions,
    )


def _between(column: str, wish: Wish) -> dict[str, str]:
    return {f"{column}.gte": str(wish.since), f"{column}.lte": str(wish.until)}


def _following(told: object) -> Mapping[str, str] | None:
    """Only what the next page asks, never where: the key goes with it."""
    address = told.get("next_url") if isinstance(told, dict) else None
    try:
        return dict(httpx.URL(str(address)).params) if address else None
    except httpx.InvalidURL as error:
        raise ProviderError(f"massive: next_url: {error}") from error


def _results(told: object) -> object:
    if not isinstance(told, dict):
        raise ProviderError(f"massive: expected an object, found {type(told).__name__}")
    return told.get("results")


def _changes(told: object) -> list[object]:
    """Each change of a symbol with what it was called before."""
    found = _results(told)
    events = found.get("events") if isinstance(found, dict) else None
    try:
        named = sorted(
            (one.date, one.ticker_change.ticker)
            for one in msgspec.convert(events or [], list[_Event])
        )
    except msgspec.ValidationError as error:
        raise ProviderError(f"massive: ticker events: {error}") from error
    return [
        {"symbol": old, "day": day, "new_symbol": new} for (_, old), (day, new) in pairwise(named)
    ]


# -- rows


def _ticker_row(one: _Ticker) -> Row:
    return {
        "symbol": one.ticker,
        "name": one.name or None,
        "exchange": one.primary_exchange or None,
        "type": one.type or None,
    }


def _split_row(one: _Split) -> Row:
    factor = factor_of(one.split_from, one.split_to)
    return {"symbol": one.ticker, "day": day_of(one.execution_date), "factor": factor}


def _bar_row(day: date, one: _Bar) -> Row:
    return bar(one.T, day, (one.o, one.h, one.l, one.c), one.v)


def _change_row(wish: Wish, one: _Change) -> Row | None:
    day = day_of(one.day)
    if not wish.since <= day <= wish.until or one.symbol == one.new_symbol:
        return None
    return {"symbol": one.symbol, "day": day, "new_symbol": one.new_symbol}


def _fact(symbol: str, name: str, known_at: datetime, value: float) -> Row:
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"expected a number from 0, found {value}")
    return {"symbol": symbol, "name": name, "known_at": known_at, "value": float(value)}


def _float_row(one: _Float) -> Row:
    return _fact(one.ticker, "float", midnight(day_of(one.effective_date)), one.free_float)


def _ratio_row(one: _Ratio) -> Row:
    """Of a day's close: known when the day is over in New York."""
    return _fact(
        one.ticker,
        "marketcap",
        midnight(day_of(one.date)) + timedelta(days=1, hours=5),
        one.market_cap,
    )


def _ratio_of_shorts(one: _Short) -> Row | None:
    if one.days_to_cover is None:
        return None
    return _fact(one.ticker, "short_ratio", _published(one), one.days_to_cover)


def _shares_short(one: _Short) -> Row | None:
    if one.short_interest is None:
        return None
    return _fact(one.ticker, "shares_short", _published(one), one.short_interest)


def _published(one: _Short) -> datetime:
    settled = np.datetime64(day_of(one.settlement_date), "D")
    day: date = np.busday_offset(settled, SHORTS_KNOWN_DAYS, roll="forward").astype(object)
    return datetime(day.year, day.month, day.day, 23, tzinfo=UTC)


def _earnings_row(one: _Earnings) -> Row:
    return {"symbol": one.ticker, "timestamp": midnight(day_of(one.date))}


def _news_row(one: _News) -> Row:
    return {"symbol": one.symbol, "timestamp": time_of(one.published_utc), "id": one.id}
