"""Toplists over REST: those of the system, those of users, and their rankings."""

from __future__ import annotations

from typing import Any

from quart import Quart, abort, g

from runtime.gateway import asked
from runtime.gateway.book import Book
from runtime.gateway.hub import Hub

LIMIT, LIMIT_MAX, OFFSET_MAX = 50, 500, 10_000
BASE = "/api/v1/toplists"


def add(app: Quart, book: Book, hub: Hub) -> None:
    """Add the routes."""
    _add_system(app, book, hub)
    _add_own(app, book, hub)


def _add_system(app: Quart, book: Book, hub: Hub) -> None:
    @app.get(BASE)
    async def list_toplists() -> Any:
        system, own = list(book.system.values()), book.lists.of(g.user)
        return {"system_toplists": system, "user_toplists": own, "count": len(system) + len(own)}

    @app.get(f"{BASE}/system/<name>")
    async def get_system_toplist(name: str) -> Any:
        if name in book.lists.things:
            abort(400, "Not a system toplist")
        if name not in (book.system or hub.toplists):
            abort(404, "Toplist not found")
        title = book.system.get(name, {}).get("name", name)
        return {"toplist_id": name, "toplist_name": title, **_page(_rows(hub, name, None))}


def _add_own(app: Quart, book: Book, hub: Hub) -> None:
    lists = book.lists

    async def given() -> Any:
        """The body, of whoever calls whatever it says."""
        told = await asked.body()
        return {**told, "user_id": g.user} if isinstance(told, dict) else told

    @app.get(f"{BASE}/user")
    async def list_own_toplists() -> Any:
        own = lists.of(g.user)
        return {"toplists": own, "count": len(own)}

    @app.post(f"{BASE}/user")
    async def add_toplist() -> Any:
        return await lists.add(await given()), 201

    @app.get(f"{BASE}/user/<name>")
    async def get_toplist(name: str) -> Any:
        return lists.owned(name, g.user)

    @app.put(f"{BASE}/user/<name>")
    async def put_toplist(name: str) -> Any:
        lists.owned(name, g.user)
        return await lists.replace(name, await given())

    @app.delete(f"{BASE}/user/<name>")
    async def delete_toplist(name: str) -> Any:
        lists.owned(name, g.user)
        await lists.remove(name)
        return {"message": "Toplist deleted"}

    @app.get(f"{BASE}/user/<name>/rankings")
    async def rank_toplist(name: str) -> Any:
        known = lists.owned(name, g.user)
        return {"toplist_id": name, "name": known["name"], **_page(_rows(hub, name, g.user))}


def _rows(hub: Hub, name: str, user: str | None) -> list[dict[str, Any]]:
    """The newest ranking; none where it is not ranked yet, or was for somebody else."""
    ranking = hub.toplists.get(name)
    if ranking is None or (user is not None and not ranking.is_of(user)):
        return []
    return ranking.rows


def _page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ranks that the request asks for, numbered through what its filters leave."""
    limit = asked.whole("limit", LIMIT, 1, LIMIT_MAX)
    offset = asked.whole("offset", 0, 0, OFFSET_MAX)
    volume = asked.number("min_volume", 0.0)
    low, high = asked.number("price_min", 0.0), asked.number("price_max", float("inf"))
    wanted = [
        row
        for row in rows
        if row["metadata"]["volume"] >= volume and low <= row["metadata"]["price"] <= high
    ]
    page = [{**row, "rank": offset + k + 1} for k, row in enumerate(wanted[offset:][:limit])]
    return {
        "rankings": page,
        "pagination": {"limit": limit, "offset": offset, "total": len(wanted)},
    }
