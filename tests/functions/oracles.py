"""What talipp, an implementation that shares nothing with ours, says of candles.

Its definitions are ours with three differences, which the functions here take out:

    RSI           100 where nothing ever moved; ours is 50: a gain and a loss of 0 lean to no side
    ATR           said from candle n on; ours from candle n + 1, the first whose true ranges all but
                  one look back at a close
    stochastic    raw %K is 100 where the n candles have no range; ours is 50
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from talipp.indicators import ATR, BB, EMA, MACD, RSI, SMA, VWAP, Stoch
from talipp.ohlcv import OHLCV

from functions.market.indicators import EMAS, RSIS, SMAS, WINDOWS
from tests.functions.fed_candles import NAN, Bar, Values


def numbers(values: Iterable[Any]) -> Values:
    return [NAN if value is None else float(value) for value in values]


def closes_of(bars: Sequence[Bar]) -> Values:
    return [bar.close for bar in bars]


def candles(bars: Sequence[Bar]) -> list[OHLCV]:
    return [OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]


def sma(n: int, bars: Sequence[Bar]) -> Values:
    return numbers(SMA(n, closes_of(bars)))


def ema(n: int, bars: Sequence[Bar]) -> Values:
    return numbers(EMA(n, closes_of(bars)))


def rsi(n: int, bars: Sequence[Bar]) -> Values:
    index = RSI(n, closes_of(bars))
    values = numbers(index)
    moved = zip(index.avg_gain[1:], index.avg_loss[1:], strict=True)
    for k, (gain, loss) in enumerate(moved, start=n):
        if gain == loss == 0:
            values[k] = 50.0
    return values


def atr(n: int, bars: Sequence[Bar]) -> Values:
    values = numbers(ATR(n, candles(bars)))
    return [NAN if k < n else value for k, value in enumerate(values)]


def macd(bars: Sequence[Bar]) -> dict[str, Values]:
    found = list(MACD(12, 26, 9, closes_of(bars)))
    return {
        f"macd{suffix}": numbers(value and getattr(value, name) for value in found)
        for suffix, name in (("", "macd"), ("_signal", "signal"), ("_histogram", "histogram"))
    }


def bollinger(bars: Sequence[Bar]) -> dict[str, Values]:
    found = list(BB(20, 2.0, closes_of(bars)))
    return {
        name: numbers(value and getattr(value, part) for value in found)
        for name, part in (("bb_mid", "cb"), ("bb_upper", "ub"), ("bb_lower", "lb"))
    }


def stochastic(bars: Sequence[Bar], n: int = 14) -> dict[str, Values]:
    raw = numbers(value and value.k for value in Stoch(n, 3, candles(bars)))
    for k in range(n - 1, len(bars)):
        window = bars[k - n + 1 : k + 1]
        if max(bar.high for bar in window) == min(bar.low for bar in window):
            raw[k] = 50.0
    slowed = SMA(3, raw[n - 1 :])
    smoothed = SMA(3, [value for value in slowed if value is not None])
    absent = [NAN] * min(n - 1, len(bars))
    seed = [NAN] * min(2, len(bars) - len(absent))
    return {
        "stoch_k": absent + numbers(slowed),
        "stoch_d": absent + seed + numbers(smoothed),
    }


def windows(bars: Sequence[Bar]) -> dict[str, Values]:
    """VWAP and mean volume of the bars of the last N minutes."""
    found: dict[str, Values] = {}
    for name, minutes in WINDOWS.items():
        vwaps, volumes = [], []
        for bar in bars:
            window = [one for one in bars if bar.start - minutes < one.start <= bar.start]
            prices = [one.vwap if one.volume else one.close for one in window]
            flat = [
                OHLCV(price, price, price, price, one.volume)
                for price, one in zip(prices, window, strict=True)
            ]
            vwaps.append(VWAP(flat)[-1])
            volumes.append(SMA(len(window), [one.volume for one in window])[-1])
        found[f"vwap_{name}"], found[f"volume_avg_{name}"] = numbers(vwaps), numbers(volumes)
    return found


def indicators_of(bars: Sequence[Bar]) -> dict[str, Values]:
    """Every column of the `indicators` record, one value per bar."""
    found = {f"ema_{n}": ema(n, bars) for n in EMAS}
    found |= {f"sma_{n}": sma(n, bars) for n in SMAS}
    found |= {f"rsi_{n}": rsi(n, bars) for n in RSIS}
    found |= {"atr_14": atr(14, bars)}
    return found | macd(bars) | bollinger(bars) | stochastic(bars) | windows(bars)


def differences(name: str, found: Sequence[float], expected: Sequence[float]) -> list[str]:
    """Where two series differ by more than 1e-9, relative above 1, or one of them is absent."""
    assert len(found) == len(expected), f"{name}: {len(found)} values, expected {len(expected)}"
    wrong = []
    for k, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if math.isnan(mine) and math.isnan(theirs):
            continue
        if not abs(mine - theirs) <= 1e-9 * max(1.0, abs(theirs)):
            wrong.append(f"{name} after candle {k}: {mine}, expected {theirs}")
    return wrong
