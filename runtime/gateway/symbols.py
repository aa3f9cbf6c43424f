"""Symbols over REST: search, one of them, and its metrics now."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway.gateway import Gateway
from runtime.gateway.listing import Listing, Named
from runtime.gateway.metric_list import Vocabulary
from runtime.gateway.queries import OFFSET_MAX, Query
from runtime.shapes import rfc3339
from runtime.why import Question, WhyError, ask_live

SYMBOLS, SYMBOLS_MAX = 1_000, 10_000
NAMES_MAX = 64  # as many as the scanner answers at once
ASKED_MAX = 16  # questions on their way: each is a message in the stream of the market
BASE = "/api/v1/symbols"


class SymbolsQuery(Query):
    """Which symbols are wanted."""

    search: str = Field("", max_length=64, description="part of a symbol or of a name")
    limit: int = Field(SYMBOLS, ge=1, le=SYMBOLS_MAX)
    offset: int = Field(0, ge=0, le=OFFSET_MAX)


class Detail(BaseModel):
    """A symbol; what is not known of it is null."""

    symbol: str
    name: str | None
    exchange: str | None
    last: float | None


class Symbols(BaseModel):
    """The best match first; `total` counts all that match."""

    symbols: list[str]
    details: list[Detail]
    count: int
    total: int


class Found(Detail):
    """A symbol and its running bar."""

    bar: dict[str, Any] | None


class ValuesQuery(Query):
    """Which metrics are wanted."""

    names: str = Field(
        min_length=1, max_length=4_000, description=f"up to {NAMES_MAX}, separated by commas"
    )


class Values(BaseModel):
    """Metrics at an event time; each that is null has a reason."""

    symbol: str
    timestamp: str
    metrics: dict[str, float | None]
    missing: dict[str, str]


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    listing = Listing(gateway.store)
    _add_values(app, gateway)

    @app.get(BASE)
    @tag(["market"])
    @validate_querystring(SymbolsQuery)
    @document_response(Symbols, 200)
    async def list_symbols(query_args: SymbolsQuery) -> Any:
        """Symbols that trade or are listed, by what their symbol or name contains."""
        named = await listing.named()
        found = _found(gateway, named, query_args.search)
        page = found[query_args.offset :][: query_args.limit]
        details = [_detail(gateway, named, symbol) for symbol in page]
        return {"symbols": page, "details": details, "count": len(page), "total": len(found)}

    @app.get(f"{BASE}/<path:symbol>")
    @tag(["market"])
    @document_response(Found, 200)
    async def get_symbol(symbol: str) -> Any:
        """One symbol, exactly as it is written."""
        named = await listing.named()
        bar = gateway.hub.bar(symbol)
        if bar is None and symbol not in named and gateway.recent.last(symbol) is None:
            abort(404, "Symbol not found")
        return {**_detail(gateway, named, symbol), "bar": bar}


def _add_values(app: Quart, gateway: Gateway) -> None:
    vocabulary = Vocabulary(gateway)
    asking = asyncio.Semaphore(ASKED_MAX)

    @app.get(f"{BASE}/<path:symbol>/metrics")
    @tag(["market"])
    @validate_querystring(ValuesQuery)
    @document_response(Values, 200)
    async def get_values(symbol: str, query_args: ValuesQuery) -> Any:
        """Metrics of a symbol now, each that is missing with its reason.

        The worker that owns the symbol answers within two seconds; 504 otherwise.
        """
        names = list(dict.fromkeys(query_args.names.replace(",", " ").split()))
        if not 1 <= len(names) <= NAMES_MAX:
            abort(400, f"names: expected 1 to {NAMES_MAX} metrics, found {len(names)}")
        vocabulary.check(names)
        try:
            async with asking:
                question = Question("", symbol, names=" ".join(names))
                told = await ask_live(gateway.bus, gateway.subjects, question)
        except WhyError as error:
            abort(504, str(error))
        if "fault" in told:
            abort(404, told["fault"])
        return {
            "symbol": symbol,
            "timestamp": rfc3339(told["ts_ns"]),
            "metrics": {name: told["metrics"].get(name) for name in names},
            "missing": told["missing"],
        }


def _found(gateway: Gateway, named: Named, search: str) -> list[str]:
    """The symbols that match: the same, then those that begin so, then by name, then the rest."""
    wanted = search.strip().upper()
    known = {*gateway.hub.symbols, *gateway.recent.symbols, *named}
    if not wanted:
        return sorted(known)
    ranked = ((_rank(wanted, symbol, named), symbol) for symbol in known)
    return [symbol for rank, symbol in sorted(ranked, key=lambda one: (one[0], one[1])) if rank < 9]


def _rank(wanted: str, symbol: str, named: Named) -> int:
    upper = symbol.upper()
    name = (named.get(symbol, ("", ""))[0] or "").upper()
    if upper == wanted:
        return 0
    if upper.startswith(wanted):
        return 1
    if name.startswith(wanted):
        return 2
    return 3 if wanted in upper else 4 if wanted in name else 9


def _detail(gateway: Gateway, named: Named, symbol: str) -> dict[str, Any]:
    name, exchange = named.get(symbol, (None, None))
    last, final = gateway.hub.last(symbol), gateway.recent.last(symbol)
    if last is None and final is not None:
        last = final[1]
    return {"symbol": symbol, "name": name, "exchange": exchange, "last": last}
