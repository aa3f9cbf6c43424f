"""Answers which trading days a symbol has, for whoever shows its bars."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from functions.market import sessions
from functions.market.sessions import CRYPTO, DAY_NS, MARKETS, US

DAYS_MAX = 13_000  # as many as New York has from 1990 to 2040
BOUNDS = ("start_ns", "open_ns", "close_ns", "end_ns")


def listed_days(asked: str) -> str:
    """`{"market", "zone", "days": [{"day", "start_ns", "open_ns", "close_ns", "end_ns"}]}` as JSON.

    asked   JSON: symbol, from_ns, to_ns and the settings closures and markets. The days are those of which
            some session lies within the times, the first DAYS_MAX; `zone` is that of the market's clocks.
    """
    told = json.loads(asked)
    setup = sessions.setup_of(told.get("closures", ""), told.get("markets", ""))
    market = sessions.market_of(told["symbol"], setup)
    added = [one.name for one in sessions.added_markets(setup)]
    days = _days(market, setup, int(told["from_ns"]), int(told["to_ns"]))
    name = (*MARKETS, *added)[market]
    return json.dumps({"market": name, "zone": sessions.zone_of(market, setup), "days": days})


def _days(market: int, setup: str, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
    if market == CRYPTO:
        first = from_ns // DAY_NS
        last = min(-(-to_ns // DAY_NS), first + DAYS_MAX)
        return [
            _day(day, [day * DAY_NS] * 2 + [(day + 1) * DAY_NS] * 2) for day in range(first, last)
        ]
    calendar = sessions.us_calendar(setup) if market == US else sessions.calendar_of(market, setup)
    first = int(np.searchsorted(calendar.end_ns, from_ns, side="right"))
    last = int(np.searchsorted(calendar.start_ns, to_ns, side="left"))
    columns = [getattr(calendar, name) for name in BOUNDS]
    rows = range(first, min(last, first + DAYS_MAX))
    return [_day(int(calendar.day[k]), [int(one[k]) for one in columns]) for k in rows]


def _day(day: int, bounds: list[int]) -> dict[str, Any]:
    return {"day": str(np.datetime64(day, "D")), **dict(zip(BOUNDS, bounds, strict=True))}
