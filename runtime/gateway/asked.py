"""What a request says: its body, and parameters within their limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from quart import abort, request
from quart_schema import RequestSchemaValidationError

Shape = TypeVar("Shape", bound=BaseModel)


async def body() -> Any:
    """The JSON of the request; 415."""
    if not request.is_json:
        abort(415, "expected Content-Type: application/json")
    return await request.get_json()


async def optional_body(shape: type[Shape]) -> Shape:
    """A body of this shape, or none at all; 400."""
    told = await request.get_json() if await request.get_data() else {}
    try:
        return shape.model_validate(told)
    except ValidationError as error:
        raise RequestSchemaValidationError(error) from error


def moment(name: str, text: str | None) -> datetime | None:
    """An RFC 3339 time with its zone, as the database takes it; 400."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError(text)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        abort(
            400, f"{name}: expected an RFC 3339 time such as 2026-01-05T14:30:00Z, found {text!r}"
        )
