"""Reference files of other projects read as candles and columns, and what we say of their candles."""

from __future__ import annotations

import csv
import math
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from functions.indicators import indicators
from functions.market import series
from functions.market.indicators import WINDOWS, add_bars
from functions.market.series import Candles, Series
from runtime.loader import load_plan
from runtime.metrics import Asked, values_at
from runtime.state import Rows, Table, shapes_of
from runtime.subjects import load_subjects
from runtime.tables import write_parquet
from tests.conftest import ROOT
from tests.functions.fed_candles import NAN, Bar, Values, after_each
from tests.functions.shared_data import SHARED

FOLDER = SHARED / "data" / "indicators"
MINUTE_NS = 60_000_000_000


# -- the files


@lru_cache
def rows_of(name: str) -> tuple[dict[str, str], ...]:
    with (FOLDER / name).open(encoding="utf-8-sig", newline="") as file:
        return tuple(
            {(key or "").strip(): text for key, text in row.items()} for row in csv.DictReader(file)
        )


def number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return NAN


def column(name: str, title: str) -> Values:
    """A column of a file; `title` may be the end of its name."""
    rows = rows_of(name)
    key = next(one for one in rows[0] if one == title or one.endswith(f" {title}"))
    return [number(row[key]) for row in rows]


@lru_cache
def bars_of(name: str, close: str = "") -> tuple[Bar, ...]:
    """The candles of a file; what it does not have is the close."""
    rows = [{key.lower(): text for key, text in row.items()} for row in rows_of(name)]
    found = []
    for k, row in enumerate(rows):
        last = number(row[close or "close"])
        values = [number(row.get(one)) for one in ("open", "high", "low")]
        found.append(Bar(k, *(last if math.isnan(v) else v for v in values), last, number(row.get("volume"))))  # fmt: skip
    return tuple(found)


def book(name: str) -> list[Values]:
    """Inputs and outputs of one example of the tulip file, `{1,2,...}` lines below its name."""
    lines = (FOLDER / "tulip" / "atoz.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines[lines.index(name) + 1 :]:
        if not line.startswith(("#", "{")):
            break
        if line.startswith("{"):
            found.append([float(one) for one in line.strip("{}").split(",") if one.strip()])
    return found


def book_bars(high: Values, low: Values, close: Values) -> tuple[Bar, ...]:
    rows = zip(close, high, low, close, strict=True)
    return tuple(Bar(k, *row) for k, row in enumerate(rows))


def closes(values: Values) -> tuple[Bar, ...]:
    return book_bars(values, values, values)


# -- what we say


@lru_cache
def ours(
    bars: tuple[Bar, ...], n: int = 14, band: int = 20, slow: int = 3, smooth: int = 3
) -> dict[str, Values]:
    """Everything a series of candles can say, with n for RSI, ATR and stochastic and `band` for means."""
    kept = Series(
        "c",
        closes=32,
        emas=(5, 12, 14, 20, 26),
        smas=(band,),
        rsis=(n,),
        atr=n,
        has_signal=True,
        stochastic=n,
    )
    ranges = Series("t", atr=1)

    def values_at_candle(candle: Candles) -> dict[str, Any]:
        values = {f"ema_{one}": series.ema(candle, one) for one in kept.emas}
        values["mean"] = series.mean_close(candle, band)
        values["rsi"] = series.rsi(candle, n)
        values["gain"] = candle.after(f"gain_{n}")
        values["loss"] = candle.after(f"loss_{n}")
        values["atr"] = series.atr(candle, n)
        values["macd"], values["signal"], values["histogram"] = series.macd(candle)
        values["mid"], values["upper"], values["lower"] = series.bollinger(candle, band)
        values["slowed"], values["smoothed"] = series.stochastic(candle, slow, smooth)
        values["raw"], _ = series.stochastic(candle, 1, 1)
        values["recent_high"] = series.highest(candle)
        values["recent_low"] = series.lowest(candle)
        return values

    found = after_each(kept, bars, values_at_candle)
    found["range"] = after_each(ranges, bars, lambda candle: {"range": series.atr(candle, 1)})["range"]  # fmt: skip
    return found


def ours_of(name: str, of: str, **parameters: Any) -> Values:
    close = parameters.pop("close", "")
    return ours(bars_of(name, close), **parameters)[of]


def typical(bar: Bar) -> float:
    return (bar.high + bar.low + bar.close) / 3


def window_vwaps(name: str, window: str) -> Values:
    """vwap_5m, ... of a file whose rows are taken as minutes, the price of a minute its typical price."""
    bars = bars_of(name)
    state = Table(Rows(["S"]), shapes_of(indicators))
    columns = {one: np.array([getattr(bar, one) for bar in bars]) for one in series.CANDLE}
    columns |= {"vwap": np.array([typical(bar) for bar in bars]), "row": np.zeros(len(bars), int)}
    columns |= {"ts_ns": (np.arange(len(bars)) + 1_000) * MINUTE_NS}
    columns |= {"revision": np.zeros(len(bars), int)}
    out = add_bars(state, columns)
    assert out is not None
    return [float(value) for value in out[f"vwap_{window}"]]


def windowed(name: str, title: str, candles: str, window: str) -> Values:
    """The VWAP of the last N rows, from the file's VWAP since its first row."""
    minutes = WINDOWS[window]
    volumes = np.cumsum([bar.volume for bar in bars_of(candles)])
    money = np.array(column(name, title)) * volumes
    before = [np.concatenate([np.zeros(minutes), one])[: len(volumes)] for one in (money, volumes)]
    return [float(one) for one in (money - before[0]) / (volumes - before[1])]


def session_vwaps(name: str, folder: Path) -> Values:
    """The session VWAP at the end of every minute of a day, from `jetscan metrics` on its bars."""
    subjects = load_subjects(ROOT / "subjects.yaml")
    plan = load_plan(ROOT / "functions", subjects)
    zone = ZoneInfo("America/New_York")
    starts = [datetime.fromisoformat(row["date"]).replace(tzinfo=zone) for row in rows_of(name)]
    ts_ns = [int(one.timestamp()) * 1_000_000_000 for one in starts]
    bars = bars_of(name)
    columns: dict[str, Any] = {"symbol": ["SPY"] * len(bars), "ts_ns": np.array(ts_ns)}
    columns |= {one: np.array([getattr(bar, one) for bar in bars]) for one in series.CANDLE}
    write_parquet(folder / "bars.parquet", columns)
    ends = [one + MINUTE_NS for one in ts_ns]
    asked = Asked(["price", "vwap_dist"], ends, bars=[folder / "bars.parquet"])
    told = values_at(plan, subjects, asked, lambda _, __: None)
    found = {name: dict[int, float]() for name in asked.names}
    for ts, one, value in zip(told["ts_ns"], told["name"], told["value"], strict=True):
        found[one][int(ts)] = float(value)
    return [found["price"][end] - found["vwap_dist"][end] for end in ends]
