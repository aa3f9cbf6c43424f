"""Metrics that watch every print: rejections, bounces off the VWAP, returns to an EMA.

Each holds an arm per symbol and fires at one print. They watch from the moment a rule names them.

    machine                arms at                                    fires at                 disarms at
    rejected_recent_high   a print within 0.1 % of the recent high    0.5 % or more below it   0.1 % above it
    vwap_support           a print within 0.1 % of the VWAP, coming   0.2 % or more above it   0.1 % below it
                           from above                                 (within the timeframe)
    back_to_ema            a candle that closes 2 % away              within 0.5 % of it
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import series
from functions.market.indicators import NAMES as INDICATORS
from functions.market.running import Runs, shifted
from functions.market.state import MINUTES_OF, SERIES

Array = NDArray[Any]

APPROACH, REJECT = 0.001, 0.005
TOUCH, BOUNCE = 0.001, 0.002
AWAY, NEAR = 0.02, 0.005

REJECTIONS = {
    f"rejected_recent_{side}_{name}": (side, name)
    for side, names in (
        ("high", ("1m", "2m", "5m", "15m", "30m", "60m")),
        ("low", ("1m", "2m", "5m", "15m")),
    )
    for name in names
}
BOUNCES = {
    f"vwap_{kind}_{name}": (kind, name)
    for kind in ("support", "resistance")
    for name in ("1m", "2m", "5m", "15m")
}
RETURNS = {
    f"back_to_ema_ema{n}_{name}": (n, name)
    for n, name in ((9, "1m"), (20, "1m"), (200, "1m"), (9, "5m"), (20, "5m"), (9, "15m"), (21, "15m"))
}  # fmt: skip
NAMES = frozenset((*REJECTIONS, *BOUNCES, *RETURNS))


def watch(state: Any, runs: Runs, events: Any, uses: frozenset[str]) -> None:
    """Move the machines in use on by prints; `events.memo["hit.<name>"]` is what they say at each."""
    wanted = NAMES & uses
    if not wanted:
        return
    price, ts_ns = events.price[runs.order], events.ts_ns[runs.order]
    for name in sorted(wanted & REJECTIONS.keys()):
        _watch_rejection(state, runs, events, name, price)
    bounces = sorted(wanted & BOUNCES.keys())
    if bounces:
        _watch_bounces(state, runs, events, bounces, price, ts_ns)
    for name in sorted(wanted & RETURNS.keys()):
        _watch_return(state, runs, events, name, price)


def keep(state: Any, runs: Runs, events: Any, name: str, said: Array) -> None:
    """What a metric of prints says at each, by symbol; the newest is kept. NaN = not known."""
    code = np.where(np.isfinite(said), 1 + (said > 0), 0).astype(np.uint8)
    state[f"hit.{name}"][runs.rows] = code[runs.lasts]
    events.memo[f"hit.{name}"] = runs.unsorted(code)


def said(code: Array) -> Array:
    """0 or 1 as `keep` was told; NaN where it was not known."""
    return np.where(code > 0, code - 1.0, np.nan)


def _keep(state: Any, runs: Runs, events: Any, name: str, fired: Array, is_known: Array) -> None:
    keep(state, runs, events, name, np.where(is_known, fired, np.nan))


def _moved(state: Any, runs: Runs, name: str, is_set: Array, value: Array) -> tuple[Array, Array]:
    """(arm before, arm after) at every print, by symbol; the newest is kept."""
    carry = state[f"arm.{name}"][runs.rows]
    place = np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), -1))
    is_own = place >= runs.starts[runs.of]
    after = np.where(is_own, value[np.maximum(place, 0)], carry[runs.of])
    state[f"arm.{name}"][runs.rows] = after[runs.lasts]
    return shifted(carry, runs, after), after


def _watch_rejection(state: Any, runs: Runs, events: Any, name: str, price: Array) -> None:
    side, timeframe = REJECTIONS[name]
    level = recent(state, timeframe, side, runs.rows)[runs.of]
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = price / level - 1.0 if side == "high" else 1.0 - price / level
        known = level > 0
        is_near = known & (np.abs(beyond) <= APPROACH)
        is_gone = known & (beyond <= -REJECT)
        is_set = is_near | is_gone | ~known | (beyond > APPROACH)
    before, _ = _moved(state, runs, name, is_set, is_near.astype(np.int64))
    _keep(state, runs, events, name, is_gone & (before > 0), known)


def _watch_bounces(
    state: Any, runs: Runs, events: Any, names: list[str], price: Array, ts_ns: Array
) -> None:
    vwap = events["session_vwap"][runs.order]
    with np.errstate(invalid="ignore"):
        away = np.where(np.isfinite(vwap), price / vwap - 1.0, 0.0)
    is_touch = np.isfinite(vwap) & (np.abs(away) <= TOUCH)
    _, side = _moved(state, runs, "vwap_side", np.abs(away) > TOUCH, np.sign(away).astype(np.int64))
    for kind, sign in (("support", 1), ("resistance", -1)):
        mine = [name for name in names if BOUNCES[name][0] == kind]
        if not mine:
            continue
        arms = is_touch & (side == sign)
        is_bounce = sign * away >= BOUNCE
        is_set = arms | is_bounce | (sign * away < -TOUCH)
        before, _ = _moved(state, runs, f"vwap_{kind}", is_set, np.where(arms, ts_ns, 0))
        for name in mine:
            within_ns = MINUTES_OF[BOUNCES[name][1]] * 60_000_000_000
            fired = is_bounce & (before > 0) & (ts_ns - before <= within_ns)
            _keep(state, runs, events, name, fired, np.isfinite(vwap))


def _watch_return(state: Any, runs: Runs, events: Any, name: str, price: Array) -> None:
    n, timeframe = RETURNS[name]
    level = ema_now(state, timeframe, n, runs.rows)[runs.of]
    with np.errstate(invalid="ignore", divide="ignore"):
        is_near = np.abs(price - level) / level <= NEAR
    before, _ = _moved(state, runs, name, is_near, np.zeros(len(price), dtype=np.int64))
    _keep(state, runs, events, name, is_near & (before > 0), np.isfinite(level))


def recent(state: Any, timeframe: str, side: str, row: Array) -> Array:
    """The recent high or low of a timeframe's closed candles; NaN where there are not enough."""
    kept = SERIES[timeframe]
    found = series.highest if side == "high" else series.lowest
    return found(series.newest(state, kept, row))


def ema_now(state: Any, timeframe: str, n: int, row: Array) -> Array:
    """ema_n of the closed candles of a timeframe; NaN where there are not enough."""
    if timeframe == "1m":
        column = INDICATORS.index(f"ema_{n}")
        known = state["indicators_minute"][row] > 0
        return np.where(known, state["indicators"][row, column], np.nan)
    kept = SERIES[timeframe]
    return series.ema(series.newest(state, kept, row), n)


def at_close(state: Any, timeframe: str, row: Array) -> None:
    """A candle of the timeframe closed: the machines of its EMAs arm where it closed far away."""
    for name in state.family("arm"):
        if name in RETURNS and RETURNS[name][1] == timeframe:
            level = ema_now(state, timeframe, RETURNS[name][0], row)
            kept = SERIES[timeframe]
            close = series.newest(state, kept, row).at("close")
            with np.errstate(invalid="ignore", divide="ignore"):
                is_away = np.abs(close - level) / level > AWAY
            state[f"arm.{name}"][row[is_away]] = 1
