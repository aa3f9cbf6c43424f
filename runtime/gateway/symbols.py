"""Symbols over REST."""

from __future__ import annotations

from typing import Any

from quart import Quart, abort, request

from runtime.gateway.gateway import Gateway


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    hub = gateway.hub

    @app.get("/api/v1/symbols")
    async def list_symbols() -> Any:
        search = request.args.get("search", "").upper()
        symbols = sorted(symbol for symbol in hub.symbols if search in symbol.upper())
        return {"symbols": symbols, "count": len(symbols)}

    @app.get("/api/v1/symbols/<symbol>")
    async def get_symbol(symbol: str) -> Any:
        bar = hub.bar(symbol)
        if bar is None:
            abort(404, "Symbol not found")
        return {"symbol": symbol, "bar": bar}
