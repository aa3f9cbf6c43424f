"""Reference data as vendors' REST servers tell it: every table by its documented answers, and answers that are none.

Sources: Alpaca, market data API (corporate actions, bars, news) and trading API (assets); Massive, REST,
stocks; Binance, klines and exchange information; Coinbase Exchange, products and candles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from runtime.fetching import open_vendor
from runtime.providers import ProviderError
from runtime.providers.asked_reference import NotToBeHad, Page, Wish
from tests.answers import Answer, Rest, answering

WISH = Wish(date(2026, 1, 5), date(2026, 1, 9))
Answers = Callable[[str, dict[str, str]], Answer]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY", "MASSIVE_KEY"):
        monkeypatch.setenv(name, f"the {name}")
    monkeypatch.setattr("runtime.providers.rest.WAIT_S", 0.01)


async def asked(
    vendor: str, table: str, answers: Answers, wish: Wish = WISH
) -> tuple[list[dict[str, Any]], list[str], Rest]:
    """(rows, what was left out, the server) of one table."""
    async with answering(answers) as (rest, address):
        more = f"&trading={address}" if vendor == "alpaca" else ""
        found, _ = open_vendor(f"{vendor}?rest={address}{more}")
        pages: list[Page] = await asyncio.to_thread(lambda: list(found.tables[table](wish)))
    rows = [row for page in pages for row in page.rows]
    return rows, [reason for page in pages for reason in page.refused], rest


def answer_with(paths: dict[str, Any]) -> Answers:
    return lambda path, _: (200, paths[path]) if path in paths else (404, {"message": path})


# -- Alpaca


async def test_alpaca_assets_are_symbols_with_their_exchange() -> None:
    told = [
        {"symbol": "BRK.B", "exchange": "NYSE", "name": "Berkshire", "class": "us_equity"},
        {"symbol": "ZVZZT", "exchange": "NASDAQ", "name": "Test"},
        {"exchange": "NASDAQ"},
    ]
    rows, refused, rest = await asked("alpaca", "symbols", answer_with({"/v2/assets": told}))
    assert rows == [{"symbol": "BRK.B", "name": "Berkshire", "exchange": "XNYS"}]
    assert len(refused) == 1
    assert "symbol" in refused[0]
    assert rest.asked[0][1] == {"status": "active", "asset_class": "us_equity"}
    assert "the ALPACA_SECRET_KEY" in rest.heads[0]
    assert "the ALPACA" not in rest.heads[0].split("\r\n")[0]


async def test_alpaca_splits_multiply_the_prices_of_the_days_before() -> None:
    told = {
        "corporate_actions": {
            "forward_splits": [
                {"symbol": "NVDA", "new_rate": 10, "old_rate": 1, "ex_date": "2026-01-06"},
                {"symbol": "BAD", "new_rate": 0, "old_rate": 1, "ex_date": "2026-01-06"},
            ],
            "reverse_splits": [
                {"symbol": "X", "new_rate": 1, "old_rate": 4, "ex_date": "2026-01-07"}
            ],
        },
        "next_page_token": None,
    }
    rows, refused, rest = await asked(
        "alpaca", "splits", answer_with({"/v1/corporate-actions": told})
    )
    assert rows == [
        {"symbol": "NVDA", "day": date(2026, 1, 6), "factor": 0.1},
        {"symbol": "X", "day": date(2026, 1, 7), "factor": 4.0},
    ]
    assert len(refused) == 1
    assert rest.asked[0][1]["types"] == "forward_split,reverse_split"


async def test_alpaca_changes_of_a_name_alone_are_no_renames() -> None:
    changes = [
        {"old_symbol": "FB", "new_symbol": "META", "process_date": "2026-01-06"},
        {"old_symbol": "A", "new_symbol": "A", "process_date": "2026-01-06"},
    ]
    told = {"corporate_actions": {"name_changes": changes}, "next_page_token": None}
    rows, refused, _ = await asked(
        "alpaca", "renames", answer_with({"/v1/corporate-actions": told})
    )
    assert rows == [{"symbol": "FB", "day": date(2026, 1, 6), "new_symbol": "META"}]
    assert refused == []


async def test_alpaca_daily_bars_come_in_pages_as_they_traded() -> None:
    def answers(path: str, given: dict[str, str]) -> Answer:
        assert path == "/v2/stocks/bars"
        day = "2026-01-06" if "page_token" in given else "2026-01-05"
        bars = [
            {"t": f"{day}T05:00:00Z", "o": 1, "h": 3, "l": 0.5, "c": 2, "v": 100, "n": 7, "vw": 2}
        ]
        wrong = [{"t": f"{day}T05:00:00Z", "o": 1, "h": 1, "l": 2, "c": 2, "v": 100}]
        token = None if "page_token" in given else "more"
        return 200, {"bars": {"A": bars, "B": wrong}, "next_page_token": token}

    wish = Wish(WISH.since, WISH.until, ("A", "B"))
    rows, refused, rest = await asked("alpaca", "daily_bars", answers, wish)
    assert rows == [
        {"symbol": "A", "day": date(2026, 1, day), "open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "volume": 100.0}
        for day in (5, 6)
    ]  # fmt: skip
    assert len(refused) == 2
    assert rest.asked[0][1]["adjustment"] == "raw"
    assert rest.asked[0][1]["symbols"] == "A,B"
    assert rest.asked[1][1]["page_token"] == "more"


async def test_alpaca_daily_bars_of_nobody_in_particular_are_those_of_all_assets() -> None:
    bars = {"bars": {}, "next_page_token": None}
    answers = answer_with(
        {"/v2/assets": [{"symbol": "A"}, {"symbol": "B"}], "/v2/stocks/bars": bars}
    )
    rows, _, rest = await asked("alpaca", "daily_bars", answers)
    assert rows == []
    assert rest.asked[-1][1]["symbols"] == "A,B"


async def test_alpaca_news_are_told_once_for_each_of_their_symbols() -> None:
    news = [
        {"id": 24, "created_at": "2026-01-08T13:00:05.5Z", "symbols": ["A", "B"], "headline": "x"}
    ]
    rows, _, rest = await asked(
        "alpaca",
        "news_times",
        answer_with({"/v1beta1/news": {"news": news, "next_page_token": ""}}),
    )
    at = datetime(2026, 1, 8, 13, 0, 5, 500_000, UTC)
    assert rows == [{"symbol": name, "timestamp": at, "id": "24"} for name in "AB"]
    assert rest.asked[0][1]["start"] == "2026-01-05"
    assert rest.asked[0][1]["end"] == "2026-01-10"


# -- Massive


def paged(path: str, first: list[Any], second: list[Any]) -> Answers:
    """Two pages, the second at the address that the first tells, on a server that is none of ours."""

    def answers(asked_path: str, given: dict[str, str]) -> Answer:
        if asked_path != path:
            return 404, {}
        if given.get("cursor") == "2":
            return 200, {"status": "OK", "results": second}
        return 200, {"results": first, "next_url": f"https://elsewhere.test{path}?cursor=2"}

    return answers


async def test_massive_tickers_come_by_cursor_from_the_server_that_was_named() -> None:
    answers = paged(
        "/v3/reference/tickers",
        [{"ticker": "A", "name": "Agilent", "primary_exchange": "XNYS", "type": "CS", "cik": "1"}],
        [{"ticker": "BRK.B", "market": "stocks"}],
    )
    rows, _, rest = await asked("massive", "symbols", answers)
    assert rows == [
        {"symbol": "A", "name": "Agilent", "exchange": "XNYS", "type": "CS"},
        {"symbol": "BRK.B", "name": None, "exchange": None, "type": None},
    ]
    assert len(rest.asked) == 2
    assert all("Bearer the MASSIVE_KEY" in head for head in rest.heads)


async def test_massive_splits_of_the_asked_days() -> None:
    told = [{"ticker": "A", "execution_date": "2026-01-06", "split_from": 1, "split_to": 4, "adjustment_type": "forward_split"}]  # fmt: skip
    rows, _, rest = await asked("massive", "splits", paged("/stocks/v1/splits", told, []))
    assert rows == [{"symbol": "A", "day": date(2026, 1, 6), "factor": 0.25}]
    assert rest.asked[0][1]["execution_date.gte"] == "2026-01-05"
    assert rest.asked[0][1]["execution_date.lte"] == "2026-01-09"


async def test_massive_daily_bars_are_one_request_a_day_and_none_at_weekends() -> None:
    def answers(path: str, given: dict[str, str]) -> Answer:
        assert given == {"adjusted": "false"}
        if path.endswith("2026-01-05"):
            bar = {"T": "A", "o": 1, "h": 2, "l": 1, "c": 2, "v": 10, "t": 1767646800000}
            return 200, {"results": [bar, {**bar, "T": "B"}], "resultsCount": 2}
        return 200, {"status": "OK", "resultsCount": 0}  # a holiday

    wish = Wish(date(2026, 1, 2), date(2026, 1, 5), ("A",))
    rows, refused, rest = await asked("massive", "daily_bars", answers, wish)
    assert [(row["symbol"], row["day"]) for row in rows] == [("A", date(2026, 1, 5))]
    assert refused == []
    assert [path[-10:] for path, _ in rest.asked] == ["2026-01-02", "2026-01-05"]


async def test_massive_renames_are_what_a_symbol_was_called_before() -> None:
    events = [
        {"type": "ticker_change", "date": "2026-01-07", "ticker_change": {"ticker": "META"}},
        {"type": "ticker_change", "date": "2012-05-18", "ticker_change": {"ticker": "FB"}},
    ]
    answers = answer_with({"/vX/reference/tickers/META/events": {"results": {"events": events}}})
    wish = Wish(WISH.since, WISH.until, ("META",))
    rows, _, _ = await asked("massive", "renames", answers, wish)
    assert rows == [{"symbol": "FB", "day": date(2026, 1, 7), "new_symbol": "META"}]
    with pytest.raises(NotToBeHad, match="symbol by symbol"):
        await asked("massive", "renames", answers)


def fundamentals(path: str, given: dict[str, str]) -> Answer:
    found = {
        "/stocks/vX/float": [{"ticker": "A", "effective_date": "2026-01-02", "free_float": 1000}],
        "/stocks/financials/v1/ratios": [{"ticker": "A", "date": "2026-01-05", "market_cap": 5e9}],
        "/stocks/v1/short-interest": [
            {
                "ticker": "A",
                "settlement_date": "2025-12-31",
                "short_interest": 50,
                "days_to_cover": 2.5,
            },
            {"ticker": "B", "settlement_date": "2025-12-31", "short_interest": 50},
        ],
    }
    return 200, {"results": found[path]}


async def test_massive_fundamentals_are_dated_when_they_were_known() -> None:
    rows, refused, _ = await asked("massive", "fundamentals", fundamentals)
    published = datetime(2026, 1, 9, 23, tzinfo=UTC)  # seven business days after New Year's Eve
    assert rows == [
        {"symbol": "A", "name": "float", "known_at": datetime(2026, 1, 2, tzinfo=UTC), "value": 1000.0},
        {"symbol": "A", "name": "marketcap", "known_at": datetime(2026, 1, 6, 5, tzinfo=UTC), "value": 5e9},
        {"symbol": "A", "name": "short_ratio", "known_at": published, "value": 2.5},
        {"symbol": "A", "name": "short_interest_pct", "known_at": published, "value": 5.0},
    ]  # fmt: skip
    assert refused == []


async def test_massive_what_a_plan_lacks_costs_only_itself() -> None:
    def answers(path: str, given: dict[str, str]) -> Answer:
        if path == "/stocks/financials/v1/ratios":
            return 403, {"message": "not entitled"}
        return fundamentals(path, given)

    async with answering(answers) as (_, address):
        found, _ = open_vendor(f"massive?rest={address}")
        pages: list[Page] = []
        with pytest.raises(NotToBeHad, match="not entitled"):
            await asyncio.to_thread(pages.extend, found.tables["fundamentals"](WISH))
    names = [row["name"] for page in pages for row in page.rows]
    assert names == ["float", "short_ratio", "short_interest_pct"]


async def test_massive_earnings_are_dates() -> None:
    told = [{"ticker": "A", "date": "2026-01-08", "time": "16:05:00", "date_status": "confirmed"}]
    rows, _, _ = await asked("massive", "earnings", paged("/benzinga/v1/earnings", told, []))
    assert rows == [{"symbol": "A", "timestamp": datetime(2026, 1, 8, tzinfo=UTC)}]


async def test_massive_news_are_told_once_for_each_of_their_symbols() -> None:
    told = [{"id": "n1", "published_utc": "2026-01-08T13:00:00Z", "tickers": ["A", "B"]}]
    rows, _, _ = await asked("massive", "news_times", paged("/v2/reference/news", told, []))
    assert [(row["symbol"], row["id"]) for row in rows] == [("A", "n1"), ("B", "n1")]


async def test_massive_a_symbol_that_is_not_known_costs_only_itself() -> None:
    events = [
        {"date": day, "ticker_change": {"ticker": ticker}}
        for day, ticker in (("2026-01-07", "C"), ("2020-01-01", "OLD"))
    ]
    answers = answer_with({"/vX/reference/tickers/C/events": {"results": {"events": events}}})
    rows, refused, _ = await asked(
        "massive", "renames", answers, Wish(WISH.since, WISH.until, ("A", "C"))
    )
    assert [row["symbol"] for row in rows] == ["OLD"]
    assert len(refused) == 1
    assert refused[0].startswith("A: massive: /vX/reference/tickers/A/events: status 404")


async def test_massive_keys_that_are_refused_are_not_tried_for_every_symbol() -> None:
    async with answering(lambda *_: (403, {})) as (rest, address):
        found, _ = open_vendor(f"massive?rest={address}")
        wish = Wish(WISH.since, WISH.until, ("A", "B", "C"))
        with pytest.raises(NotToBeHad):
            await asyncio.to_thread(list, found.tables["renames"](wish))
        assert len(rest.asked) == 1


async def test_massive_is_asked_in_its_own_spelling() -> None:
    wish = Wish(WISH.since, WISH.until, ("BACpL",))
    events = [
        {"date": day, "ticker_change": {"ticker": ticker}}
        for day, ticker in (("2026-01-07", "BACpL"), ("2020-01-01", "BOFpL"))
    ]
    answers = answer_with({"/vX/reference/tickers/BACpL/events": {"results": {"events": events}}})
    rows, _, _ = await asked("massive", "renames", answers, wish)
    assert rows == [{"symbol": "BOF.PRL", "day": date(2026, 1, 7), "new_symbol": "BAC.PRL"}]


async def test_alpaca_a_rename_is_of_its_new_symbol_as_well() -> None:
    changes = [{"old_symbol": "FB", "new_symbol": "META", "process_date": "2026-01-06"}]
    told = {"corporate_actions": {"name_changes": changes}, "next_page_token": None}
    wish = Wish(WISH.since, WISH.until, ("META",))
    rows, _, _ = await asked(
        "alpaca", "renames", answer_with({"/v1/corporate-actions": told}), wish
    )
    assert [row["symbol"] for row in rows] == ["FB"]


@pytest.mark.parametrize(
    "told", [{"results": {"events": [{"date": 7}]}}, {"results": {"events": 5}}]
)
async def test_massive_events_that_are_none_are_an_error(told: Any) -> None:
    with pytest.raises(ProviderError, match="ticker events"):
        await asked(
            "massive", "renames", lambda *_: (200, told), Wish(WISH.since, WISH.until, ("A",))
        )


async def test_massive_a_next_page_that_is_no_address_is_an_error() -> None:
    told = {"results": [], "next_url": "http://[::1"}
    with pytest.raises(ProviderError, match="next_url"):
        await asked("massive", "splits", lambda *_: (200, told))


# -- crypto


async def test_binance_days_and_pairs() -> None:
    start = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
    kline = [start, "1.0", "3.0", "0.5", "2.0", "100.5", start + 86_399_999, "1", 5, "1", "1", "0"]
    pairs = [
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"},
        {"symbol": "OLDUSDT", "status": "BREAK", "baseAsset": "OLD", "quoteAsset": "USDT"},
    ]
    answers = answer_with({"/api/v3/klines": [kline], "/api/v3/exchangeInfo": {"symbols": pairs}})
    rows, _, rest = await asked(
        "binance", "daily_bars", answers, Wish(WISH.since, WISH.until, ("BTCUSDT",))
    )
    assert rows == [{"symbol": "BTCUSDT", "day": date(2026, 1, 5), "open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "volume": 100.5}]  # fmt: skip
    assert rest.asked[0][1]["startTime"] == str(start)
    rows, _, _ = await asked("binance", "symbols", answers)
    assert rows == [
        {"symbol": "BTCUSDT", "name": "BTC/USDT", "exchange": "BINANCE", "type": "crypto"}
    ]


async def test_coinbase_days_and_products_long_spans_in_parts() -> None:
    start = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
    products = [
        {"id": "BTC-USD", "status": "online", "display_name": "BTC/USD"},
        {"id": "OLD-USD", "status": "delisted"},
    ]
    answers = answer_with(
        {"/products/BTC-USD/candles": [[start, 0.5, 3, 1, 2, 100.5]], "/products": products}
    )
    wish = Wish(date(2025, 1, 1), date(2026, 1, 9), ("BTC-USD",))
    rows, _, rest = await asked("coinbase", "daily_bars", answers, wish)
    assert rows[0] == {"symbol": "BTC-USD", "day": date(2026, 1, 5), "open": 1.0, "high": 3.0, "low": 0.5, "close": 2.0, "volume": 100.5}  # fmt: skip
    assert [given["start"][:10] for _, given in rest.asked] == ["2025-01-01", "2025-10-28"]
    rows, _, _ = await asked("coinbase", "symbols", answers)
    assert [row["symbol"] for row in rows] == ["BTC-USD"]


# -- answers that are none


@pytest.mark.parametrize(
    ("vendor", "table"),
    [
        (vendor, table)
        for vendor in ("alpaca", "massive")
        for table in ("symbols", "splits", "news_times")
    ]
    + [("binance", "symbols"), ("coinbase", "symbols")],
)
@pytest.mark.parametrize(
    "told", ["nonsense", 7, [1, "x", None], {"results": 5, "news": 5, "symbols": 5}]
)
async def test_what_is_no_answer_is_an_error_or_left_out_never_a_row(
    vendor: str, table: str, told: Any
) -> None:
    try:
        rows, _, _ = await asked(vendor, table, lambda *_: (200, told))
    except ProviderError:
        return
    assert rows == []


async def test_a_vendor_in_trouble_is_an_error_that_names_what_was_asked() -> None:
    with pytest.raises(ProviderError, match=r"alpaca: /v2/assets: status 500"):
        await asked("alpaca", "symbols", lambda *_: (500, {}))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nobody", "expected one of alpaca, massive, binance, coinbase, or sql"),
        ("alpaca?feed=all", "expected one of sip, iex, otc"),
        ("alpaca?fed=sip", "did you mean feed"),
        ("massive?rest=ftp://x", "expected http"),
        ("massive?symbols=", "symbols"),
    ],
)
def test_a_source_that_is_none_says_what_was_expected(source: str, said: str) -> None:
    with pytest.raises(ProviderError, match=said):
        open_vendor(source)


def test_a_key_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASSIVE_KEY")
    with pytest.raises(ProviderError, match="MASSIVE_KEY"):
        open_vendor("massive")
