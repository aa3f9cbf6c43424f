"""Bars of a symbol over REST."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

from pydantic import BaseModel, Field
from quart import Quart, Response, abort
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway.bar_history import Wanted, bars_of, shape
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Query, Time, time_ns
from runtime.gateway.recent_bars import Minute
from runtime.gateway.trading_days import TradingDays
from runtime.shapes import encoded, rfc3339

BARS, BARS_MAX = 1_000, 5_000
SYMBOL_MAX = 64
MINUTE_NS = 60_000_000_000
SETTLED_NS = 120 * MINUTE_NS  # prints and corrections may be an hour late

Timeframe = Literal["1m", "2m", "5m", "10m", "15m", "30m", "1h", "4h", "1d"]


class BarsQuery(Query):
    """Which bars are wanted."""

    timeframe: Timeframe = "1m"
    from_ns: Time | None = Field(
        None, alias="from", description="the first bar begins here or later; none: the newest bars"
    )
    to_ns: Time | None = Field(
        None, alias="to", description="the last bar begins before this; none: now"
    )
    limit: int = Field(BARS, ge=1, le=BARS_MAX)


class Bar(BaseModel):
    """What was traded in a span; `vwap` and `trades` are null where they are not known."""

    timestamp: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int | None
    day: str | None = Field(None, description="of a day: its date")
    is_running: bool | None = Field(None, description="true of the bar that is not over")


class Bars(BaseModel):
    """Bars, oldest first; `next` is the `from` that goes on where this page ends."""

    symbol: str
    timeframe: str
    bars: list[Bar]
    count: int
    next: str | None


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    calendar = TradingDays(gateway.settings, gateway.accepts)

    @app.get("/api/v1/bars/<path:symbol>")
    @tag(["market"])
    @validate_querystring(BarsQuery)
    @document_response(Bars, 200)
    async def get_bars(symbol: str, query_args: BarsQuery) -> Any:
        """Bars of a symbol, oldest first.

        Stored minutes, folded, with the newest ones from the stream and the running one. A symbol without
        bars in the range has none: an empty list.
        """
        if len(symbol) > SYMBOL_MAX or "\0" in symbol:
            abort(404, "Symbol not found")
        now_ns = gateway.hub.newest_ns or time.time_ns()  # a replay has its own time
        to_ns = now_ns + MINUTE_NS if query_args.to_ns is None else query_args.to_ns
        wanted = Wanted(symbol, query_args.timeframe, query_args.from_ns, to_ns, query_args.limit)
        if wanted.from_ns is not None and wanted.from_ns > to_ns:
            abort(400, "from: expected a time before `to`")
        key = _key_of_past(wanted, now_ns)
        if key and (kept := await gateway.answers.get(key)) is not None:
            return Response(kept, content_type="application/json")
        days = None if wanted.minutes == 1 else await calendar.of(symbol, *wanted.bounds)
        told = await bars_of(gateway.database, wanted, days, _newest(gateway, symbol))
        shapes = [shape(row) for row in told.bars]
        following = rfc3339(told.next_ns) if told.next_ns is not None else None
        body = {
            "symbol": symbol,
            "timeframe": wanted.timeframe,
            "bars": shapes,
            "count": len(shapes),
            "next": following,
        }
        # A thousand bars: what sorts every name and looks for odd types takes 3 ms longer.
        answer = encoded(body)
        if key:
            await gateway.answers.keep(key, answer)
        return Response(answer, content_type="application/json")


def _key_of_past(wanted: Wanted, now_ns: int) -> str:
    """What names a range that is over, late prints included; empty for one that may still change."""
    if wanted.from_ns is None or wanted.to_ns > now_ns - SETTLED_NS:
        return ""
    return f"bars/{wanted.symbol}/{wanted.timeframe}/{wanted.from_ns}/{wanted.to_ns}/{wanted.limit}"


def _newest(gateway: Gateway, symbol: str) -> list[Minute]:
    """The minutes the stream has told, and the running one."""
    minutes = gateway.recent.of(symbol)
    running = gateway.hub.bar(symbol)
    if running is None:
        return minutes
    ts_ns = time_ns(running["timestamp"])
    if minutes and ts_ns <= minutes[-1].ts_ns:
        return minutes
    names = ("open", "high", "low", "close", "volume", "count")
    known: dict[str, Any] = {name: running[name] for name in names}
    vwap = running.get("vwap", math.nan)
    return [*minutes, Minute(ts_ns=ts_ns, vwap=vwap, revision=-1, is_final=False, **known)]
