"""Toplists over REST: those of the system, those of users, and their rankings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, abort, g
from quart_schema import document_request, document_response, tag, validate_querystring

from runtime.gateway import asked
from runtime.gateway.book import Book
from runtime.gateway.gateway import Gateway
from runtime.gateway.hub import Hub

LIMIT, LIMIT_MAX, OFFSET_MAX = 50, 500, 10_000
BASE = "/api/v1/toplists"
ROUND = Field(None, ge=0, allow_inf_nan=False)


class RankQuery(BaseModel):
    """Which ranks: those that the filters leave are numbered from 1."""

    limit: int = Field(LIMIT, ge=1, le=LIMIT_MAX)
    offset: int = Field(0, ge=0, le=OFFSET_MAX)
    min_volume: float | None = ROUND
    price_min: float | None = ROUND
    price_max: float | None = ROUND


class ToplistShape(BaseModel):
    """What is ranked, how, and for whom."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "id": "cheap-gainers",
                "name": "Cheap gainers",
                "metric": "change_pct",
                "time_window": "5m",
                "sort_order": "desc",
                "filters": {"price_max": 5, "min_volume": 100000},
                "columns": ["relative_volume_5m"],
            }
        },
    )

    id: str = Field(
        "", description="1 to 64 of letters, digits, - and _; one is made where none is"
    )
    name: str
    description: str | None = ""
    metric: str = Field(description="`change_pct`, `volume`, or any metric with its window")
    time_window: str = Field("", description="1m, 5m, 15m, 1h or 1d; empty: the metric has its own")
    sort_order: str = Field("desc", description="asc or desc")
    filters: dict[str, Any] | None = None
    columns: list[str] | None = Field(None, description="metrics shown beside the value")
    color_scheme: dict[str, Any] | None = None
    enabled: bool = True


class Rank(BaseModel):
    """A symbol's place."""

    symbol: str
    rank: int
    value: float | None
    metadata: dict[str, Any] = Field(description="price, volume and the columns of the list")


class Pagination(BaseModel):
    """Which part of a ranking it is."""

    limit: int
    offset: int
    total: int


class SystemRanking(BaseModel):
    """The newest ranking of a system list."""

    toplist_id: str
    toplist_name: str
    rankings: list[Rank]
    pagination: Pagination


class UserRanking(BaseModel):
    """The newest ranking of a list of yours."""

    toplist_id: str
    name: str
    rankings: list[Rank]
    pagination: Pagination


class AllToplists(BaseModel):
    """The lists of the system, and yours."""

    system_toplists: list[dict[str, Any]]
    user_toplists: list[dict[str, Any]]
    count: int


class OwnToplists(BaseModel):
    """Your lists, newest first."""

    toplists: list[dict[str, Any]]
    count: int


class Said(BaseModel):
    """That it is done."""

    message: str


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    _add_system(app, gateway.book, gateway.hub)
    _add_own(app, gateway)


def _add_system(app: Quart, book: Book, hub: Hub) -> None:
    @app.get(BASE)
    @tag(["toplists"])
    @document_response(AllToplists, 200)
    async def list_toplists() -> Any:
        """The lists of the system, and yours."""
        system, own = list(book.system.values()), book.lists.of(g.user)
        return {"system_toplists": system, "user_toplists": own, "count": len(system) + len(own)}

    @app.get(f"{BASE}/system/<name>")
    @tag(["toplists"])
    @validate_querystring(RankQuery)
    @document_response(SystemRanking, 200)
    async def get_system_toplist(name: str, query_args: RankQuery) -> Any:
        """The newest ranking of a system list."""
        if name in book.lists.things:
            abort(400, "Not a system toplist")
        if name not in (book.system or hub.toplists):
            abort(404, "Toplist not found")
        title = book.system.get(name, {}).get("name", name)
        return {
            "toplist_id": name,
            "toplist_name": title,
            **_page(query_args, _rows(hub, name, None)),
        }


def _add_own(app: Quart, gateway: Gateway) -> None:
    lists, hub, audit = gateway.lists, gateway.hub, gateway.audit

    async def given() -> Any:
        """The body, of whoever calls whatever it says."""
        told = await asked.body()
        return {**told, "user_id": g.user} if isinstance(told, dict) else told

    @app.get(f"{BASE}/user")
    @tag(["toplists"])
    @document_response(OwnToplists, 200)
    async def list_own_toplists() -> Any:
        """Your lists, newest first."""
        own = lists.of(g.user)
        return {"toplists": own, "count": len(own)}

    @app.post(f"{BASE}/user")
    @tag(["toplists"])
    @document_request(ToplistShape)
    @document_response(ToplistShape, 201)
    async def add_toplist() -> Any:
        """Make a list of yours; it is ranked from the next second on."""
        made = await lists.add(await given())
        await audit.note(g.user, "toplist.create", made["id"])
        return made, 201

    @app.get(f"{BASE}/user/<name>")
    @tag(["toplists"])
    @document_response(ToplistShape, 200)
    async def get_toplist(name: str) -> Any:
        """One list of yours."""
        return lists.owned(name, g.user)

    @app.put(f"{BASE}/user/<name>")
    @tag(["toplists"])
    @document_request(ToplistShape)
    @document_response(ToplistShape, 200)
    async def put_toplist(name: str) -> Any:
        """Change a list of yours, all of it."""
        lists.owned(name, g.user)
        made = await lists.replace(name, await given())
        await audit.note(g.user, "toplist.update", name)
        return made

    @app.delete(f"{BASE}/user/<name>")
    @tag(["toplists"])
    @document_response(Said, 200)
    async def delete_toplist(name: str) -> Any:
        """Delete a list of yours."""
        lists.owned(name, g.user)
        await lists.remove(name)
        await audit.note(g.user, "toplist.delete", name)
        return {"message": "Toplist deleted"}

    @app.get(f"{BASE}/user/<name>/rankings")
    @tag(["toplists"])
    @validate_querystring(RankQuery)
    @document_response(UserRanking, 200)
    async def rank_toplist(name: str, query_args: RankQuery) -> Any:
        """The newest ranking of a list of yours."""
        known = lists.owned(name, g.user)
        return {
            "toplist_id": name,
            "name": known["name"],
            **_page(query_args, _rows(hub, name, g.user)),
        }


def _rows(hub: Hub, name: str, user: str | None) -> list[dict[str, Any]]:
    """The newest ranking; none where it is not ranked yet, or was for somebody else."""
    ranking = hub.toplists.get(name)
    if ranking is None or (user is not None and not ranking.is_of(user)):
        return []
    return ranking.rows


def _page(query: RankQuery, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ranks that the request asks for, numbered through what its filters leave."""
    limit, offset, volume, low = (
        query.limit,
        query.offset,
        query.min_volume or 0,
        query.price_min or 0,
    )
    high = float("inf") if query.price_max is None else query.price_max
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
