"""Dead letters over REST, for admins: look, put back, drop."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_querystring

from runtime import deadletters
from runtime.deadletters import Letter, NoLetter
from runtime.gateway.access import need_admin
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Query
from runtime.gateway.rules import Said
from runtime.shapes import rfc3339

BASE = "/api/v1/admin/dead"
SEQUENCE_MAX = 2**53  # more than any stream gets to, and all that a browser can say


class DeadQuery(Query):
    """Which letters."""

    function: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = Field(
        "", description="only those of this function"
    )
    limit: int = Field(100, ge=1, le=200)
    offset: int = Field(0, ge=0, le=2_000)


class DeadRow(BaseModel):
    """A frame that was set aside."""

    sequence: int = Field(description="its number")
    stored: str
    function: str
    version: str
    subject: str
    stream: str
    position: int = Field(description="of the frame in its stream")
    partition: int | None
    reason: str
    bytes: int


class DeadLetter(DeadRow):
    """The same, with what is known of the error and the frame."""

    trace: str
    frame: dict[str, list[str]] | str = Field(description="first values by column, or why not")
    events: int


class DeadPage(BaseModel):
    """Dead letters, newest first."""

    dead: list[DeadRow]
    count: int
    total: int
    limit: int
    offset: int


class PutBack(BaseModel):
    """Where a letter went."""

    message: str
    subject: str


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    bus, audit = gateway.bus, gateway.audit

    @app.get(BASE)
    @tag(["admin"])
    @validate_querystring(DeadQuery)
    @document_response(DeadPage, 200)
    async def list_dead(query_args: DeadQuery) -> Any:
        """Frames that functions could not process, newest first (admins)."""
        need_admin()
        limit, offset = query_args.limit, query_args.offset
        found, total = await deadletters.page(bus, query_args.function, limit, offset)
        rows = [_row(one) for one in found]
        return {"dead": rows, "count": len(rows), "total": total, "limit": limit, "offset": offset}

    @app.get(f"{BASE}/<int:sequence>")
    @tag(["admin"])
    @document_response(DeadLetter, 200)
    async def get_dead(sequence: int) -> Any:
        """One of them: error, stack, and the frame as far as it can be read (admins)."""
        one = await letter(sequence)
        frame, events = deadletters.frame_shown(one, gateway.subjects)
        return {**_row(one), "trace": one.trace, "frame": frame, "events": events}

    @app.post(f"{BASE}/<int:sequence>/redrive")
    @tag(["admin"])
    @document_response(PutBack, 200)
    async def redrive_dead(sequence: int) -> Any:
        """Put one back: the function that failed sees its frame again, in stream order (admins)."""
        await letter(sequence)
        subject = await deadletters.redrive(bus, sequence)
        await audit.note(g.user, "dead.redrive", str(sequence), {"subject": subject})
        return {"message": "Dead letter put back", "subject": subject}

    @app.delete(f"{BASE}/<int:sequence>")
    @tag(["admin"])
    @document_response(Said, 200)
    async def delete_dead(sequence: int) -> Any:
        """Drop one for good (admins)."""
        await letter(sequence)
        await deadletters.drop(bus, sequence)
        await audit.note(g.user, "dead.delete", str(sequence))
        return {"message": "Dead letter deleted"}

    async def letter(sequence: int) -> Letter:
        need_admin()
        if not 0 < sequence <= SEQUENCE_MAX:
            abort(404, "Dead letter not found")
        try:
            return await deadletters.letter(bus, sequence)
        except NoLetter:
            abort(404, "Dead letter not found")


def _row(one: Letter) -> dict[str, Any]:
    return {
        "sequence": one.sequence,
        "stored": rfc3339(one.stored_ns),
        "function": one.function,
        "version": one.version,
        "subject": one.subject,
        "stream": one.stream,
        "position": one.position,
        "partition": one.partition,
        "reason": one.reason,
        "bytes": len(one.frame),
    }
