"""Kinds of values that queries and bodies name: times, symbols, ids, and pages of a list."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

LIMIT, LIMIT_MAX, OFFSET_MAX = 100, 1_000, 100_000
NS_MOST = 92 * 10**17  # within 2261, the end of nanoseconds in 64 bits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WRITTEN = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
EXPECTED = "expected an RFC 3339 time such as 2026-01-05T14:30:00Z"


def time_ns(text: Any) -> int:
    """An RFC 3339 time as UTC nanoseconds; raises ValueError."""
    found = WRITTEN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{EXPECTED}, found {str(text)[:40]!r}")
    try:
        whole = datetime.fromisoformat(found[1] + found[3].upper().replace("Z", "+00:00"))
        since = whole - EPOCH
    except (ValueError, OverflowError):
        raise ValueError(f"{EXPECTED}, found {text!r}") from None
    ns = (since.days * 86_400 + since.seconds) * 10**9 + int((found[2] or "0").ljust(9, "0"))
    if abs(ns) > NS_MOST:
        raise ValueError(f"expected a year from 1679 to 2261, found {text!r}")
    return ns


def moment(ts_ns: int) -> datetime:
    """Nanoseconds as what the database takes: microseconds, the rest is cut off."""
    return EPOCH + timedelta(microseconds=ts_ns // 1_000)


def nanoseconds(moment: datetime) -> int:
    """A time of the database as UTC nanoseconds."""
    since = moment - EPOCH
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1_000


Time = Annotated[
    int, BeforeValidator(time_ns), WithJsonSchema({"type": "string", "format": "date-time"})
]
PRINTABLE = r"^[^\x00-\x1f]*$"  # no database stores a NUL
Symbol = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]


class Query(BaseModel):
    """What a query may say; names it does not know are ignored."""

    model_config = ConfigDict(populate_by_name=True)


class Page(Query):
    """Which part of a list is wanted."""

    limit: int = Field(LIMIT, ge=1, le=LIMIT_MAX)
    offset: int = Field(0, ge=0, le=OFFSET_MAX)


class Range(Page):
    """The same, of events in a time: `from` and `to` belong to it."""

    from_ns: Time | None = Field(None, alias="from")
    to_ns: Time | None = Field(None, alias="to")
