"""The symbols of the feeds over REST, for admins: what they follow, and what they are to follow."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_request

from runtime import universe
from runtime.gateway.access import need_admin
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Symbol
from runtime.gateway.rules import Said
from runtime.universe import SYMBOLS_MAX, UniverseError, Wishes

BASE = "/api/v1/universe"
NAMED_MAX = 100  # symbols in a row of the audit
Symbols = Annotated[list[Symbol], Field(default_factory=list, max_length=SYMBOLS_MAX)]


class Refusal(BaseModel):
    """Symbols that a vendor does not send, and why."""

    reason: str
    symbols: list[str]


class Feed(BaseModel):
    """A feed that runs; each of its symbols stands in one of the three lists."""

    source: str = Field(description="its URL without parameters", examples=["alpaca://sip"])
    carries: str = Field(description="what symbols it can carry, as a regular expression")
    changes: str = Field(description="when a change reaches the vendor, or never")
    wanted: int = Field(description="how many symbols it is to follow")
    acknowledged: list[str] = Field(description="that the vendor says it sends; * = all there are")
    unanswered: list[str] = Field(description="asked for, and not answered")
    refused: list[Refusal]


class Asked(BaseModel):
    """What was asked of a feed since the last reset."""

    source: str = Field(description="empty: of all feeds")
    add: list[str]
    remove: list[str]


class Universe(BaseModel):
    """Feeds that run, by name, and what was asked of feeds."""

    feeds: list[Feed]
    count: int
    asked: list[Asked]


class Change(BaseModel):
    """Symbols to follow and to leave."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"add": ["AAPL", "BRK.B"], "remove": ["TSLA"], "source": "alpaca://sip"}
        },
    )

    add: Symbols
    remove: Symbols
    source: str = Field("", max_length=64, description="one feed; empty: all that can carry them")


class Changed(BaseModel):
    """What was asked, as symbols are spelled here."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "add": ["AAPL", "BRK.B"],
                "remove": ["TSLA"],
                "source": "",
                "feeds": ["alpaca://sip"],
            }
        }
    )

    add: list[str]
    remove: list[str]
    source: str
    feeds: list[str] = Field(
        description="that run and take it; none: it is kept for the next that start"
    )


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    bus, audit = gateway.bus, gateway.audit

    @app.get(BASE)
    @tag(["admin"])
    @document_response(Universe, 200)
    async def get_universe() -> Any:
        """Every feed and its symbols: acknowledged, unanswered, refused and why (admins)."""
        need_admin()
        feeds = [_feed(one) for one in await universe.feeds_of(bus)]
        try:
            wishes = await universe.wishes_of(bus)
        except UniverseError as error:
            abort(409, f"{error}; DELETE {BASE} forgets it")
        return {"feeds": feeds, "count": len(feeds), "asked": _asked(wishes)}

    @app.post(BASE)
    @tag(["admin"])
    @validate_request(Change)
    @document_response(Changed, 200)
    async def change_universe(data: Change) -> Any:
        """Have feeds follow symbols and leave others, without a restart and after one (admins)."""
        need_admin()
        try:
            added, removed = universe.spelled(data.add), universe.spelled(data.remove)
            source = universe.checked_source(data.source)
            taking = universe.check(await universe.feeds_of(bus), added, source)
            await universe.change(bus, added, removed, source)
        except UniverseError as error:
            abort(400, str(error))
        detail = {"add": added[:NAMED_MAX], "remove": removed[:NAMED_MAX]}
        counts = {"added": len(added), "removed": len(removed)}
        await audit.note(g.user, "universe.change", source or "all", detail | counts)
        return {"add": added, "remove": removed, "source": source, "feeds": taking}

    @app.delete(BASE)
    @tag(["admin"])
    @document_response(Said, 200)
    async def reset_universe() -> Any:
        """Have every feed follow what its URL says, and no more (admins)."""
        need_admin()
        await universe.reset(bus)
        await audit.note(g.user, "universe.reset", "all")
        return {"message": "Feeds follow their URLs"}


def _feed(told: dict[str, Any]) -> dict[str, Any]:
    refused = sum(len(one["symbols"]) for one in told["refused"])
    return {**told, "wanted": len(told["acknowledged"]) + len(told["unanswered"]) + refused}


def _asked(wishes: Wishes) -> list[dict[str, Any]]:
    return [{"source": name, **one} for name, one in sorted(wishes.told().items())]
