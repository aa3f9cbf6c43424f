"""Outcomes the obvious way: one alert at a time, one bar at a time."""

from __future__ import annotations

import statistics
from typing import Any

from functions.market import sessions

MINUTE_NS = 60_000_000_000
NAN = float("nan")


def outcome(bars: list[dict[str, Any]], alert: dict[str, Any]) -> dict[str, float]:
    """bars of all symbols, alert: symbol, ts_ns, price."""
    mine = sorted((b for b in bars if b["symbol"] == alert["symbol"]), key=lambda b: b["ts_ns"])
    found = {}
    for minutes in (1, 5, 15, 60):
        last_ns = alert["ts_ns"] + minutes * MINUTE_NS - 1
        closes = [b["close"] for b in mine if b["ts_ns"] <= last_ns < b["ts_ns"] + MINUTE_NS]
        found[f"return_{minutes}m_pct"] = percent(closes[0], alert) if closes else NAN
    market = sessions.CRYPTO if alert["symbol"].endswith("USDT") else sessions.US
    moment = sessions.moments(alert["ts_ns"])[market]
    end = moment.close_ns if alert["ts_ns"] < moment.close_ns else moment.end_ns
    is_over = any(b["ts_ns"] + MINUTE_NS >= end for b in bars)
    within = [b for b in mine if alert["ts_ns"] <= b["ts_ns"] < end] if is_over else []
    found["return_close_pct"] = percent(within[-1]["close"], alert) if within else NAN
    found["best_pct"] = percent(max(b["high"] for b in within), alert) if within else NAN
    found["worst_pct"] = percent(min(b["low"] for b in within), alert) if within else NAN
    return found


def percent(price: float, alert: dict[str, Any]) -> float:
    return (price / alert["price"] - 1) * 100


def rule(outcomes: list[dict[str, Any]], horizon: str) -> dict[str, float]:
    """known, hits, mean and median of one horizon."""
    name = f"return_{horizon}_pct"
    known = [one[name] for one in outcomes if one[name] == one[name]]
    if not known:
        return {"known": 0, "hits": NAN, "mean": NAN, "median": NAN}
    hits = 100 * sum(one > 0 for one in known) / len(known)
    return {
        "known": len(known),
        "hits": hits,
        "mean": statistics.fmean(known),
        "median": statistics.median(known),
    }
