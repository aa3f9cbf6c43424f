"""What a request says: its body, and parameters within their limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from quart import abort, request
from quart_schema import RequestSchemaValidationError

Shape = TypeVar("Shape", bound=BaseModel)

DIGITS_MAX = 18  # thousands of digits are more than `int` takes


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


def whole(name: str, default: int, least: int, most: int) -> int:
    """A whole number within limits; 400."""
    text = request.args.get(name)
    if text is None:
        return default
    is_number = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    if not is_number or not least <= int(text) <= most:
        abort(400, f"{name}: expected a whole number from {least} to {most}, found {text!r}")
    return int(text)


def number(name: str, default: float) -> float:
    """A number from 0; 400."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= 0:
        abort(400, f"{name}: expected a number from 0, found {text!r}")
    return value


def time_ns(name: str) -> int | None:
    """An RFC 3339 time as nanoseconds."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if not text.endswith("Z"):
            raise ValueError(text)
        return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))
    except ValueError:
        abort(
            400,
            f"{name}: expected an RFC 3339 time in UTC such as 2026-01-05T14:30:00Z, found {text!r}",
        )


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
