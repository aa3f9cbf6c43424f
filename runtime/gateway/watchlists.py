"""Watchlists over REST: kept in the database, known to rules and subscriptions from the next event on."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, Response, abort, g
from quart_schema import document_response, tag, validate_querystring, validate_request

from runtime.gateway import etags
from runtime.gateway.book import RuleError
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Page, Symbol
from runtime.gateway.rules import Said
from runtime.gateway.watched import LISTS_MAX, SYMBOLS_MAX, Change, Watched

BASE = "/api/v1/watchlists"
ID = r"^[A-Za-z0-9_-]{1,64}$"
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/^+=-]{0,63}")
BETWEEN = re.compile(r"[\s,;|]+")
TEXT_MAX = 64 << 10


class WatchlistBody(BaseModel):
    """A watchlist as it is sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "mine", "name": "Mine", "symbols": ["AAPL", "MSFT", "BTC/USD"]}
        }
    )

    id: Annotated[str, Field(pattern=ID)] | None = Field(
        None, description="of yours alone; rules name it: `in watchlist mine`"
    )
    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    symbols: list[Symbol] = Field(default_factory=list, max_length=SYMBOLS_MAX)


class ImportBody(BaseModel):
    """Symbols to add: a list, or a text in which they stand between blanks, commas or lines."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "AAPL, MSFT\nNVDA"}})

    symbols: list[Symbol] = Field(default_factory=list, max_length=SYMBOLS_MAX)
    text: str = Field("", max_length=TEXT_MAX, description="letters of it are taken as capitals")


class Watchlist(BaseModel):
    """A watchlist as it is kept; symbols in the order in which they were added."""

    id: str
    name: str
    symbols: list[str]
    version: int = Field(description="counts its changes; its ETag")
    created_at: str
    updated_at: str


class Watchlists(BaseModel):
    """Your watchlists, by name."""

    watchlists: list[Watchlist]
    count: int
    total: int


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    watched = Watched(gateway)
    _add_lists(app, gateway, watched)
    _add_symbols(app, gateway, watched)


def _add_lists(app: Quart, gateway: Gateway, watched: Watched) -> None:
    audit = gateway.audit

    @app.get(BASE)
    @tag(["user"])
    @validate_querystring(Page)
    @document_response(Watchlists, 200)
    async def list_watchlists(query_args: Page) -> Any:
        """Your watchlists, by name."""
        found = await watched.all(g.user)
        page = found[query_args.offset :][: query_args.limit]
        return {"watchlists": page, "count": len(page), "total": len(found)}

    @app.post(BASE)
    @tag(["user"])
    @validate_request(WatchlistBody)
    @document_response(Watchlist, 201)
    async def add_watchlist(data: WatchlistBody) -> Response:
        """Make a watchlist; there may be 50, of 1,000 symbols each."""
        list_id = data.id or str(uuid.uuid4())
        made = await watched.add(g.user, list_id, data.name, checked(data.symbols))
        await audit.note(g.user, "watchlist.create", list_id, {"symbols": len(made["symbols"])})
        return etags.tagged(made, 201)

    @app.get(f"{BASE}/<list_id>")
    @tag(["user"])
    @document_response(Watchlist, 200)
    async def get_watchlist(list_id: str) -> Response:
        """One watchlist; its version is the ETag."""
        return etags.tagged(await watched.get(g.user, list_id))

    @app.put(f"{BASE}/<list_id>")
    @tag(["user"])
    @validate_request(WatchlistBody)
    @document_response(Watchlist, 200)
    async def put_watchlist(list_id: str, data: WatchlistBody) -> Response:
        """Change a watchlist, all of it; with `If-Match` only the version you read."""
        symbols = checked(data.symbols)

        def replace(known: Change) -> Change:
            etags.check_match(known.as_shown)
            return Change(data.name, symbols, known.version)

        return await _changed(gateway, watched, list_id, replace)

    @app.delete(f"{BASE}/<list_id>")
    @tag(["user"])
    @document_response(Said, 200)
    async def delete_watchlist(list_id: str) -> Any:
        """Delete a watchlist; not while a rule or a subscription of yours names it."""
        rules = gateway.book.naming(g.user, list_id)
        if rules:
            await watched.get(g.user, list_id)
            raise RuleError(409, f"rules name it: {', '.join(rules[:5])}; change them first")
        await watched.remove(g.user, list_id, etags.check_match)
        await audit.note(g.user, "watchlist.delete", list_id)
        return {"message": "Watchlist deleted"}


def _add_symbols(app: Quart, gateway: Gateway, watched: Watched) -> None:
    @app.post(f"{BASE}/<list_id>/symbols")
    @tag(["user"])
    @validate_request(ImportBody)
    @document_response(Watchlist, 200)
    async def import_symbols(list_id: str, data: ImportBody) -> Response:
        """Add symbols to a watchlist; those that are in it stay where they are."""
        words = [one for one in BETWEEN.split(data.text.upper()) if one]
        more = checked([*data.symbols, *words])
        return await _changed(gateway, watched, list_id, lambda known: known.with_symbols(more))

    @app.put(f"{BASE}/<list_id>/symbols/<path:symbol>")
    @tag(["user"])
    @document_response(Watchlist, 200)
    async def put_symbol(list_id: str, symbol: str) -> Response:
        """Add one symbol to a watchlist."""
        more = checked([symbol])
        return await _changed(gateway, watched, list_id, lambda known: known.with_symbols(more))

    @app.delete(f"{BASE}/<list_id>/symbols/<path:symbol>")
    @tag(["user"])
    @document_response(Watchlist, 200)
    async def delete_symbol(list_id: str, symbol: str) -> Response:
        """Take one symbol off a watchlist; one that is not in it changes nothing."""
        return await _changed(gateway, watched, list_id, lambda known: known.without(symbol))


async def _changed(
    gateway: Gateway, watched: Watched, list_id: str, edit: Callable[[Change], Change]
) -> Response:
    made = await watched.change(g.user, list_id, edit)
    detail = {"version": made["version"], "symbols": len(made["symbols"])}
    await gateway.audit.note(g.user, "watchlist.update", list_id, detail)
    return etags.tagged(made)


def checked(symbols: list[str]) -> tuple[str, ...]:
    """Symbols as rules may name them, each once, in order; 400."""
    for one in symbols:
        if not SYMBOL.fullmatch(one):
            abort(400, f"symbols: expected a symbol such as AAPL or BTC/USD, found {one!r:.80}")
    return tuple(dict.fromkeys(symbols))


__all__ = ["LISTS_MAX", "add"]
