"""Metrics of every timeframe, asked of the scanner, against talipp on candles that a plain loop makes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from functions.market.vocabulary import FAMILY_OF
from runtime.chain import Chain
from runtime.frames import Frame, texts
from runtime.loader import load_plan
from runtime.subjects import load_subjects
from tests.conftest import ROOT
from tests.functions import oracles
from tests.functions.fed_candles import Bar

MINUTE_NS = 60_000_000_000
DAY_NS = 1440 * MINUTE_NS
SUBJECTS = load_subjects(ROOT / "subjects.yaml")
MARKET = next(c for c in load_plan(ROOT / "functions", SUBJECTS).chains if c.stream == "MARKET")
BEGIN = int(datetime(2026, 3, 10, 4, tzinfo=ZoneInfo("America/New_York")).timestamp()) // 60
CRYPTO, STOCK = "BTC-USD", "AAA"
MINUTES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "60m": 60}
NAMES = [
    name
    for name in FAMILY_OF
    if name.startswith(("rsi_14_", "atr_14_", "atrp_14_", "ma_dist_", "sma_", "ema_"))
]


class Print(NamedTuple):
    ts_ns: int
    symbol: str
    price: float


def random_prints(hours: int) -> list[Print]:
    """Minutes with a few prints and minutes with none; the stock trades 04:00 to 20:00 only."""
    draw, found = np.random.default_rng(5), []
    price = {CRYPTO: 60_000.0, STOCK: 40.0}
    for minute in range(BEGIN, BEGIN + 60 * hours):
        for symbol in (CRYPTO, STOCK):
            if draw.random() < 0.4 or (symbol == STOCK and (minute - BEGIN) % 1440 >= 960):
                continue
            for second in sorted(draw.integers(0, 60, int(draw.integers(1, 4))).tolist()):
                price[symbol] = round(price[symbol] * (1 + draw.normal(0, 0.002)), 2)
                found.append(Print(minute * MINUTE_NS + second * 10**9 + 1, symbol, price[symbol]))
    return sorted(found)


def days_before(count: int) -> list[Bar]:
    """Daily candles of the stock before the first day."""
    draw, close, days = np.random.default_rng(6), 40.0, []
    today = BEGIN // 1440
    for day in [d for d in range(today - 2 * count, today) if (d + 3) % 7 < 5][-count:]:
        opened, close = close, float(round(close * (1 + draw.normal(0, 0.02)), 2))
        high, low = max(opened, close) + 0.3, min(opened, close) - 0.2
        days.append(Bar(day, opened, high, low, close, 1e6))
    return days


def candles_of(prints: Iterable[Print], minutes: int, until: int) -> list[Bar]:
    """The candles of a timeframe that are over at a minute."""
    found: dict[int, list[float]] = {}
    for one in prints:
        start = one.ts_ns // MINUTE_NS // minutes * minutes
        if start + minutes <= until:
            found.setdefault(start, []).append(one.price)
    return [Bar(at, p[0], max(p), min(p), p[-1]) for at, p in sorted(found.items())]


def expected_of(name: str, candles: dict[str, list[Bar]], price: float) -> float:
    """The metric by talipp: rsi_14_5m, atrp_14_daily, ma_dist_ema9_15m_pct, ema_20."""
    words = name.removesuffix("_pct").split("_")
    if words[0] == "ma":
        kind, n, bars = words[2][:3], int(words[2][3:]), candles[words[3]]
    else:
        kind, n, bars = words[0], int(words[1]), candles[(*words, "1m")[2]]
    if not bars:
        return float("nan")
    of = {"sma": oracles.sma, "ema": oracles.ema, "rsi": oracles.rsi}.get(kind, oracles.atr)
    value = of(n, bars)[-1]
    if words[0] == "ma":
        return 100 * (price - value) / value
    return 100 * value / bars[-1].close if kind == "atrp" else value


class Market:
    """The market chain, fed minute by minute."""

    def __init__(self, days: list[Bar]) -> None:
        self.chain = Chain(MARKET, SUBJECTS, 0)
        columns: dict[str, Any] = {"ts_ns": np.array([day.start * DAY_NS for day in days])}
        for name in ("open", "high", "low", "close", "volume"):
            columns[name] = np.array([getattr(day, name) for day in days])
        columns["factor"] = np.full(len(days), np.nan)
        self.run("ticks.daily", Frame(columns, [STOCK], np.zeros(len(days), dtype=np.int64)))

    def run(self, base: str, frame: Frame) -> list[Any]:
        outputs = self.chain.run_frame(base, frame)
        assert [one.data for one in outputs if one.base == "dead"] == []
        return outputs

    def minute(self, prints: list[Print], until: int) -> None:
        if prints:
            columns = {
                "ts_ns": np.array([one.ts_ns for one in prints]),
                "price": np.array([one.price for one in prints]),
                "size": np.ones(len(prints)),
                "upd": np.full(len(prints), 7, dtype=np.uint8),
            }
            index = np.array([(CRYPTO, STOCK).index(one.symbol) for one in prints])
            self.run("ticks.trades", Frame(columns, [CRYPTO, STOCK], index))
        self.run("ticks.clock", Frame({"ts_ns": np.array([until * MINUTE_NS])}))

    def ask(self, minute: int) -> dict[tuple[str, str], float]:
        asked = {"ts_ns": np.array([minute * MINUTE_NS]), "names": texts([" ".join(NAMES)])}
        found: dict[tuple[str, str], float] = {}
        for output in self.run("ask.metrics", Frame(asked)):
            frame = output.frame
            for key in zip(frame["symbol"], frame["name"], frame["value"].tolist(), strict=True):
                found[key[0], key[1]] = key[2]
        return found


def test_every_timeframe_has_the_indicators_of_its_candles() -> None:
    hours, asked = 27, {BEGIN + m for m in (0, 13, 14, 75, 451, 764, 765, 959, 1263, 1590)}
    prints, days = random_prints(hours), days_before(230)
    market, met, compared = Market(days), list[Print](), set[str]()
    for minute in range(BEGIN, BEGIN + 60 * hours):
        now = [one for one in prints if one.ts_ns // MINUTE_NS == minute]
        met += now
        market.minute(now, minute + 1)
        if minute not in asked:
            continue
        found = market.ask(minute + 1)
        for symbol in (CRYPTO, STOCK):
            mine = [one for one in met if one.symbol == symbol]
            candles = {name: candles_of(mine, n, minute + 1) for name, n in MINUTES.items()}
            candles["daily"] = days if symbol == STOCK else []
            for name in NAMES:
                if "daily" in name and minute + 1 - BEGIN >= 960:
                    continue  # at 20:00 the first day becomes a candle of its own
                price = mine[-1].price if mine else float("nan")
                expected = expected_of(name, candles, price)
                value = found.get((symbol, name), float("nan"))
                if math.isnan(expected):
                    assert math.isnan(value), f"{symbol} {name} at minute {minute - BEGIN}: {value}"
                else:
                    compared.add(name)
                    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), name
    assert compared == set(NAMES)
